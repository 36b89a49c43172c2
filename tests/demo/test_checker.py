"""The judge of the demo, on histories with planted faults."""

from __future__ import annotations

import pytest

from demo.planted import KEYSPACE, History, takeover
from slurp_leader.demo.checker import Reign, Verdict, check
from slurp_leader.jobs.records import JobStatus


def judge(history: History, *accepted: str) -> Verdict:
    return check(history.events, accepted, KEYSPACE)


def test_a_takeover_that_kept_every_promise_has_no_problems() -> None:
    history, first, second = takeover()

    verdict = judge(history, "a", "b")

    assert verdict.problems(leaders_wanted=2) == []
    assert (verdict.accepted, verdict.completed, verdict.interrupted) == (2, 2, ("b",))
    assert verdict.reigns == (Reign(first, "node-1", 1, 1), Reign(second, "node-2", 2, 1))


def test_a_leader_key_that_is_stolen_starts_the_next_term() -> None:
    history = History()
    first = history.elect("node-1", 1)
    history.submit("a", "b")
    history.end("a", first)
    second = history.elect("node-2", 2)
    history.end("b", second)

    assert judge(history, "a", "b").problems(leaders_wanted=2) == []


def test_an_accepted_job_without_an_outcome_is_lost() -> None:
    history, _, _ = takeover()
    history.submit("c")

    verdict = judge(history, "a", "b", "c")

    assert verdict.lost == ("c",)
    assert verdict.problems(2) == ["1 accepted jobs were lost: c"]


def test_an_accepted_job_that_etcd_never_saw_is_lost() -> None:
    history, _, _ = takeover()

    assert judge(history, "a", "b", "never-written").lost == ("never-written",)


def test_a_job_with_two_outcomes_is_recorded_twice() -> None:
    history, _, second = takeover()
    history.end("a", second)

    verdict = judge(history, "a", "b")

    assert verdict.twice == ("a",)
    assert "1 accepted jobs were recorded twice: a" in verdict.problems(2)


def test_an_outcome_that_was_pruned_and_written_again_is_recorded_twice() -> None:
    history, _, second = takeover()
    history.prune("a")
    history.end("a", second)

    assert judge(history, "a", "b").twice == ("a",)


def test_a_second_outcome_counts_even_where_the_first_was_not_seen() -> None:
    history, _, second = takeover()
    history.end("a", second)
    unseen = next(event for event in history.events if event.kv.key.endswith(b"done/a"))
    history.events.remove(unseen)

    assert judge(history, "a", "b").twice == ("a",)


def test_without_a_second_leader_the_takeover_is_missing() -> None:
    history = History()
    token = history.elect("node-1", 1)
    history.submit("a")
    history.end("a", token)

    verdict = judge(history, "a")

    assert verdict.problems(leaders_wanted=1) == []
    assert verdict.problems(leaders_wanted=2) == ["1 leaders committed outcomes; 2 were to"]


def test_a_second_leader_that_recorded_nothing_does_not_count() -> None:
    history = History()
    token = history.elect("node-1", 1)
    history.submit("a")
    history.end("a", token)
    history.vacate()
    history.elect("node-2", 2)

    assert judge(history, "a").problems(leaders_wanted=2) == ["1 leaders committed outcomes; 2 were to"]


@pytest.mark.parametrize(("status", "said"), [(JobStatus.FAILED, "failed"), (JobStatus.CANCELLED, "were cancelled")])
def test_an_accepted_job_has_to_complete(status: JobStatus, said: str) -> None:
    history, _, second = takeover()
    history.submit("c")
    history.end("c", second, status)

    verdict = judge(history, "a", "b", "c")

    assert verdict.completed == 2
    assert verdict.problems(2) == [f"1 accepted jobs {said}"]


def test_an_outcome_under_the_token_of_an_ended_term_is_a_violation() -> None:
    history, first, second = takeover()
    history.submit("late")
    history.end("late", first)

    (problem,) = judge(history, "a", "b", "late").problems(2)

    assert problem == f"job late ended under token {first} when token {second} was in force"


def test_an_outcome_while_nobody_leads_is_a_violation() -> None:
    history, _, second = takeover()
    history.submit("late")
    history.vacate()
    history.end("late", second)

    (problem,) = judge(history, "a", "b", "late").problems(2)

    assert problem == f"job late ended under token {second} when nobody led"


def test_a_request_that_goes_without_an_outcome_is_a_violation() -> None:
    history, _, _ = takeover()
    history.submit("c")
    history.drop_request("c")

    problems = judge(history, "a", "b", "c").problems(2)

    assert "1 accepted jobs were lost: c" in problems
    assert any("job c did not end in one transaction" in problem for problem in problems)


def test_an_outcome_that_leaves_its_request_behind_is_a_violation() -> None:
    history, _, second = takeover()
    history.submit("c")
    history.end("c", second, keep=True)

    (problem,) = judge(history, "a", "b", "c").problems(2)

    assert problem.startswith("job c did not end in one transaction")


def test_an_outcome_that_cannot_be_read_is_a_violation_and_no_outcome() -> None:
    history, _, _ = takeover()
    history.submit("c")
    history.corrupt_outcome("c")

    verdict = judge(history, "a", "b", "c")

    assert verdict.lost == ("c",)
    assert any("cannot be read" in violation for violation in verdict.violations)


def test_a_leader_key_written_twice_in_one_term_is_a_violation() -> None:
    history, _, _ = takeover()
    history.elect("node-2", 2, term_id="term-2")

    assert any("within one term" in violation for violation in judge(history, "a", "b").violations)


def test_a_request_written_twice_is_a_violation() -> None:
    history, _, _ = takeover()
    history.submit("a")

    assert any("was written again" in violation for violation in judge(history, "a", "b").violations)


def test_a_history_out_of_order_is_not_believed() -> None:
    history, _, _ = takeover()
    history.events.append(history.events[0])

    assert any("out of order" in violation for violation in judge(history, "a", "b").violations)


def test_a_run_in_which_nothing_was_accepted_is_no_success() -> None:
    history = History()
    history.elect("node-1", 1)

    assert "no job was accepted" in judge(history).problems(leaders_wanted=1)


def test_jobs_that_nobody_answered_for_are_not_counted() -> None:
    history, _, _ = takeover()
    history.submit("unanswered")

    verdict = judge(history, "a", "b")

    assert (verdict.accepted, verdict.lost) == (2, ())
