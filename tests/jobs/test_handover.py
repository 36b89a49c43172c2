"""Jobs in flight over a handover (PROTOCOL C, A25): their old leader ends them under a grant, while another leads."""

from __future__ import annotations

import pytest

from jobs.rig import INTERRUPTED, KEYS, KEYSPACE, RAISED, Node, Rig, puts
from slurp_leader.jobs.records import JobStatus
from slurp_leader.jobs.scheduler import RunEnded, StartRun, WindDown
from slurp_leader.store import Delete, Put
from slurp_leader.telemetry.events import LogEvent
from support.virtual import answer_lost, late


@pytest.fixture
def rig() -> Rig:
    return Rig()


def two(rig: Rig) -> tuple[Node, Node]:
    rig.node.lead()
    rig.node.stand()
    return rig.node, Node(rig.world, "b")


def in_flight(rig: Rig, node: Node) -> tuple[str, StartRun]:
    job_id = rig.client.submit()
    run = rig.wait_for_run(job_id, node=node)
    node.started(run)
    return job_id, run


def test_a_run_goes_on_over_a_handover_and_its_outcome_counts(rig: Rig) -> None:
    old, new = two(rig)
    job_id, run = in_flight(rig, old)
    old.hand_over(new)
    rig.settle(5)
    assert new.runs == []
    assert old.stops == []
    assert run.term.may_go_on
    assert not run.term.is_valid
    old.end(run)
    outcome = rig.wait_for(job_id)
    assert (outcome.status, outcome.token, outcome.attempts) == (JobStatus.COMPLETED, old.token, 1)
    rig.settle(1)
    assert old.handed_back
    assert rig.keys(KEYS.grant) == []
    assert rig.keys(KEYS.run) == []
    assert new.notes(LogEvent.JOB_INTERRUPTED) == []
    assert new.notes(LogEvent.COMMIT_REFUSED) == []  # it did not even try to close what is granted


def test_a_run_that_ends_before_its_leader_knows_of_the_handover_is_not_lost(rig: Rig) -> None:
    """The first answer to be seen is the refusal: it shows the grant, and the outcome waits for the word about it."""
    old, new = two(rig)
    job_id, run = in_flight(rig, old)
    lent = old.hand_over(new, tell=False)
    old.end(run)
    rig.settle(3)
    assert old.stops == []
    assert rig.outcome(job_id) is None
    from slurp_leader.jobs.scheduler import HandedOver

    old.seat.post(HandedOver(old.token, lent))
    assert rig.wait_for(job_id).status is JobStatus.COMPLETED


def test_a_failed_attempt_under_a_grant_is_run_again_by_the_new_leader(rig: Rig) -> None:
    old, new = two(rig)
    job_id, run = in_flight(rig, old)
    old.hand_over(new)
    old.end(run, RAISED)
    again = rig.wait_for_run(job_id, node=new)
    assert (again.run, again.attempt) == (2, 2)
    assert len(old.runs_of(job_id)) == 1


def test_nothing_is_claimed_under_a_grant(rig: Rig) -> None:
    old, new = two(rig)
    in_flight(rig, old)
    old.hand_over(new)
    rig.settle(1)
    later = rig.client.submit()
    rig.wait_for_run(later, node=new)
    assert old.runs_of(later) == []


def test_a_claim_in_doubt_at_the_handover_that_had_applied_may_run_under_the_grant(rig: Rig) -> None:
    old, new = two(rig)
    rig.world.order(answer_lost(), puts(KEYS.run), times=1)
    job_id = rig.client.submit()
    rig.world.run_until(lambda: bool(rig.keys(KEYS.run)))
    old.hand_over(new)
    run = rig.wait_for_run(job_id, node=old)
    old.do(run)
    outcome = rig.wait_for(job_id)
    assert (outcome.token, outcome.run) == (old.token, 1)
    assert new.runs_of(job_id) == []


def test_a_claim_that_arrives_after_the_handover_is_refused_and_its_job_is_the_successors(rig: Rig) -> None:
    old, new = two(rig)
    rule = rig.world.order(late(3.0), puts(KEYS.run), times=1)
    job_id = rig.client.submit()
    rig.world.run_until(lambda: rule.met == 1)
    old.hand_over(new)
    new.do(rig.wait_for_run(job_id, node=new))
    rig.wait_for(job_id)
    rig.settle(5)
    assert old.runs_of(job_id) == []
    assert rig.outcomes_written(job_id) == 1


def test_a_cancel_of_a_granted_run_is_carried_out_by_its_old_leader(rig: Rig) -> None:
    old, new = two(rig)
    job_id, run = in_flight(rig, old)
    old.hand_over(new)
    rig.settle(1)
    rig.client.cancel(job_id)
    rig.settle(1)
    assert old.stops_of(run) == ["cancelled"]
    old.end(run, INTERRUPTED)
    assert rig.wait_for(job_id).status is JobStatus.CANCELLED


def test_when_the_owner_of_a_grant_is_gone_its_runs_are_orphans_at_once(rig: Rig) -> None:
    old, new = two(rig)
    job_id, _ = in_flight(rig, old)
    old.hand_over(new)
    rig.settle(1)
    old.host.crash()
    rig.world.apply(Delete(KEYSPACE.mirrored + b"nodes/a/session"))
    again = rig.wait_for_run(job_id, node=new, within_s=1.0)
    assert again.run == 2
    assert rig.keys(KEYS.grant) == []


def test_at_the_deadline_a_grant_ends_and_what_comes_late_is_refused(rig: Rig) -> None:
    old, new = two(rig)
    job_id, run = in_flight(rig, old)
    old.hand_over(new, longest_s=20.0)
    rig.settle(1)
    old.host.cut_off = True  # it hears nothing, and cannot write
    again = rig.wait_for_run(job_id, node=new, within_s=25.0)
    old.host.cut_off = False
    old.end(run)
    new.do(again)
    assert rig.wait_for(job_id).run == 2
    rig.settle(10)
    assert rig.outcomes_written(job_id) == 1


def test_the_loss_of_a_grant_stops_its_runs(rig: Rig) -> None:
    """I4, as far as it applies to granted jobs."""
    old, new = two(rig)
    _, run = in_flight(rig, old)
    lent = old.hand_over(new)
    rig.settle(1)
    rig.world.apply(Delete(lent.key))
    rig.settle(1)
    assert old.stops_of(run) == ["term_lost"]
    assert old.handed_back


def test_an_outcome_written_under_a_grant_that_was_deleted_is_refused(rig: Rig) -> None:
    old, new = two(rig)
    job_id, run = in_flight(rig, old)
    lent = old.hand_over(new)
    rig.settle(1)
    old.host.deaf = True
    new.host.deaf = True  # so that nothing but the compare of the grant stands in its way
    rig.world.apply(Delete(lent.key))
    old.end(run)
    rig.settle(3)
    assert rig.outcome(job_id) is None


def test_a_hand_back_leaves_two_grants_that_end_each_for_itself(rig: Rig) -> None:
    """A25: grants outlive terms, and whoever leads honours them, its own earlier ones too."""
    old, new = two(rig)
    first, run = in_flight(rig, old)
    old.hand_over(new)
    new.stand()
    rig.settle(1)
    second, other = in_flight(rig, new)
    token = old.token
    new.hand_over(old)
    rig.settle(5)
    assert len(rig.keys(KEYS.grant)) == 2
    assert old.stops == new.stops == []
    third = rig.client.submit()
    rig.world.run_until(lambda: bool(old.runs_of(third)))
    old.end(run)
    new.end(other)
    old.do(old.run_of(third))
    outcomes = [rig.wait_for(job_id) for job_id in (first, second, third)]
    assert [outcome.run for outcome in outcomes] == [1, 1, 1]
    assert [outcome.token for outcome in outcomes] == [token, new.token, old.token]
    rig.settle(3)
    assert rig.keys(KEYS.grant) == []
    assert rig.keys(KEYS.run) == []


def test_a_node_that_stops_gives_granted_runs_the_drain_timeout(rig: Rig) -> None:
    old, new = two(rig)
    job_id, run = in_flight(rig, old)
    old.seat.post(WindDown())
    old.hand_over(new)
    rig.settle(rig.jobs.drain_timeout_s - 0.5)
    assert old.stops == []
    rig.settle(1)
    assert old.stops_of(run) == ["shutdown"]
    old.end(run, INTERRUPTED)
    rig.wait_for_run(job_id, node=new)
    rig.settle(1)
    assert old.handed_back


def test_a_run_its_worker_had_not_begun_begins_under_the_grant_while_the_old_proof_lasts(rig: Rig) -> None:
    old, new = two(rig)
    job_id = rig.client.submit()
    run = rig.wait_for_run(job_id, node=old)
    old.hand_over(new)
    old.seat.post(RunEnded(run.run_id, None))  # its worker had looked in the moment between
    rig.world.run_until(lambda: len(old.runs_of(job_id)) == 2, within_s=1.0)
    assert old.run_of(job_id).term.may_begin
    rig.settle(6)
    assert not run.term.may_begin
    old.seat.post(RunEnded(old.run_of(job_id).run_id, None))
    rig.wait_for_run(job_id, node=new)


@pytest.mark.parametrize("value", [b"", b"{}", b'{"schema":1,"session":1}', b"\xff"])
def test_a_grant_that_cannot_be_read_is_ended(rig: Rig, value: bytes) -> None:
    old, new = two(rig)
    job_id, _ = in_flight(rig, old)
    rig.world.apply(Put(KEYS.grant_of(old.token), value))
    old.host.crash()
    new.lead()
    rig.wait_for_run(job_id, node=new, within_s=5.0)
    assert rig.keys(KEYS.grant) == []
