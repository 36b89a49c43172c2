"""The judge of the demo, on histories with planted faults."""

from __future__ import annotations

from demo.planted import KEYSPACE, A, B, C, D, History, takeover
from slurp_leader.demo.checker import Reign, Verdict, check
from slurp_leader.jobs.records import JobStatus


def judge(history: History, *accepted: str) -> Verdict:
    return check(history.events, accepted, KEYSPACE)


def test_a_takeover_that_kept_every_promise_has_no_problems() -> None:
    history, first, second = takeover()

    verdict = judge(history, A, B)

    assert verdict.problems(leaders_wanted=2) == []
    assert (verdict.accepted, verdict.completed, verdict.interrupted) == (2, 2, (B,))
    assert verdict.reigns == (Reign(first, "node-1", 1, 1), Reign(second, "node-2", 2, 1))


def test_a_leader_key_that_is_stolen_starts_the_next_term() -> None:
    history = History()
    first = history.elect("node-1", 1)
    history.submit(A, B)
    history.end(A, first)
    second = history.elect("node-2", 2)
    history.end(B, second)

    assert judge(history, A, B).problems(leaders_wanted=2) == []


def test_an_accepted_job_without_an_outcome_is_lost() -> None:
    history, _, _ = takeover()
    history.submit(C)

    verdict = judge(history, A, B, C)

    assert verdict.lost == (C,)
    assert verdict.problems(2) == [f"lost: 1 of 3 accepted jobs ({C})"]


def test_an_accepted_job_that_etcd_never_saw_is_lost() -> None:
    history, _, _ = takeover()

    assert judge(history, A, B, D).lost == (D,)


def test_a_job_with_two_outcomes_is_recorded_twice() -> None:
    history, _, second = takeover()
    history.end(A, second)

    verdict = judge(history, A, B)

    assert verdict.twice == (A,)
    assert f"recorded twice: 1 of 2 accepted jobs ({A})" in verdict.problems(2)


def test_an_outcome_that_was_pruned_and_written_again_is_recorded_twice() -> None:
    history, _, second = takeover()
    history.prune(A)
    history.end(A, second)

    assert judge(history, A, B).twice == (A,)


def test_a_second_outcome_counts_even_where_the_first_was_not_seen() -> None:
    history, _, second = takeover()
    history.end(A, second)
    unseen = next(event for event in history.events if event.kv.key.endswith(f"done/{A}".encode()))
    history.events.remove(unseen)

    assert judge(history, A, B).twice == (A,)


def test_without_a_second_leader_the_takeover_is_missing() -> None:
    history = History()
    token = history.elect("node-1", 1)
    history.submit(A)
    history.end(A, token)

    verdict = judge(history, A)

    assert verdict.problems(leaders_wanted=1) == []
    assert verdict.problems(leaders_wanted=2) == ["terms that committed outcomes: 1; wanted: 2"]


def test_a_second_leader_that_recorded_nothing_does_not_count() -> None:
    history = History()
    token = history.elect("node-1", 1)
    history.submit(A)
    history.end(A, token)
    history.vacate()
    history.elect("node-2", 2)

    assert judge(history, A).problems(leaders_wanted=2) == ["terms that committed outcomes: 1; wanted: 2"]


def test_an_accepted_job_that_failed_is_a_problem_that_says_why() -> None:
    history, _, second = takeover()
    history.submit(C)
    history.fail(C, second, "c.py: missing: no such file")

    verdict = judge(history, A, B, C)

    assert (verdict.completed, verdict.failed) == (2, 1)
    assert verdict.problems(2) == ["failed: 1 of 3 accepted jobs; the first one: c.py: missing: no such file"]


def test_an_accepted_job_that_was_cancelled_is_a_problem() -> None:
    history, _, second = takeover()
    history.submit(C)
    history.end(C, second, JobStatus.CANCELLED)

    assert judge(history, A, B, C).problems(2) == ["cancelled: 1 of 3 accepted jobs"]


def test_an_outcome_under_the_token_of_an_ended_term_is_a_violation() -> None:
    history, first, second = takeover()
    history.submit(D)
    history.end(D, first)

    (problem,) = judge(history, A, B, D).problems(2)

    assert problem == f"job {D} ended under token {first} when token {second} was in force"


def test_an_outcome_while_nobody_leads_is_a_violation() -> None:
    history, _, second = takeover()
    history.submit(D)
    history.vacate()
    history.end(D, second)

    (problem,) = judge(history, A, B, D).problems(2)

    assert problem == f"job {D} ended under token {second} when nobody led"


def test_a_request_that_goes_without_an_outcome_is_a_violation() -> None:
    history, _, _ = takeover()
    history.submit(C)
    history.drop_request(C)

    problems = judge(history, A, B, C).problems(2)

    assert f"lost: 1 of 3 accepted jobs ({C})" in problems
    assert any(f"job {C} did not end in one transaction" in problem for problem in problems)


def test_an_outcome_that_leaves_its_request_behind_is_a_violation() -> None:
    history, _, second = takeover()
    history.submit(C)
    history.end(C, second, keep=True)

    (problem,) = judge(history, A, B, C).problems(2)

    assert problem.startswith(f"job {C} did not end in one transaction")


def test_an_outcome_that_cannot_be_read_is_a_violation_and_no_outcome() -> None:
    history, _, _ = takeover()
    history.submit(C)
    history.corrupt_outcome(C)

    verdict = judge(history, A, B, C)

    assert verdict.lost == (C,)
    assert any("cannot be read" in violation for violation in verdict.violations)


def test_a_leader_key_written_twice_in_one_term_is_a_violation() -> None:
    history, _, _ = takeover()
    history.elect("node-2", 2, term_id="term-2")

    assert any("within one term" in violation for violation in judge(history, A, B).violations)


def test_a_request_written_twice_is_a_violation() -> None:
    history, _, _ = takeover()
    history.submit(A)

    assert any("was written again" in violation for violation in judge(history, A, B).violations)


def test_a_history_out_of_order_is_not_believed() -> None:
    history, _, _ = takeover()
    history.events.append(history.events[0])

    assert any("out of order" in violation for violation in judge(history, A, B).violations)


def test_a_run_in_which_nothing_was_accepted_is_no_success() -> None:
    history = History()
    history.elect("node-1", 1)

    assert "no job was accepted" in judge(history).problems(leaders_wanted=1)


def test_jobs_that_nobody_answered_for_are_not_counted() -> None:
    history, _, _ = takeover()
    history.submit(C)

    verdict = judge(history, A, B)

    assert (verdict.accepted, verdict.lost) == (2, ())
