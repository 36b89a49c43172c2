"""Jobs that take their leader down (PROTOCOL A14): they end, and those beside them do not."""

from __future__ import annotations

import pytest

from jobs.rig import KEYS, RETURNED, Node, Rig, options
from slurp_leader.jobs.records import Claim, JobLimits, JobStatus
from slurp_leader.jobs.scheduler import StartRun
from slurp_leader.store import Delete, prefix_end


@pytest.fixture
def rig() -> Rig:
    return Rig()


class Poisoned:
    """Nodes of which each dies when it runs a poison job; the next one leads then."""

    def __init__(self, rig: Rig, poison: set[str]) -> None:
        self.rig = rig
        self.poison = poison
        self.crashes = 0
        self.alone: list[bool] = []
        self.under_way: set[str] = set()
        self.node = rig.node

    def lead(self) -> None:
        node = self.node.lead()
        node.body = self._body

    def _body(self, start: StartRun) -> None:
        """Ends by hand: others are still running when the poison works."""
        self.under_way.add(start.job.job_id)
        if start.job.job_id in self.poison:
            self.alone.append(len(self.under_way) == 1)
            self.rig.world.after(0.05, self._die, self.node.host.life)
        else:
            self.rig.world.after(0.1, self._end, start, self.node, self.node.host.life)

    def _die(self, life: int) -> None:
        if life != self.node.host.life:
            return
        self.crashes += 1
        self.under_way.clear()
        self.node.crash()
        self.rig.world.after(0.1, self.lead)

    def _end(self, start: StartRun, node: Node, life: int) -> None:
        if node.host.life == life:
            self.under_way.discard(start.job.job_id)
            node.do(start, RETURNED)


def test_a_poison_job_ends_failed_after_the_interruptions_allowed(rig: Rig) -> None:
    job_id = rig.client.submit()
    trouble = Poisoned(rig, {job_id})
    trouble.lead()
    outcome = rig.wait_for(job_id, within_s=300)
    assert (outcome.status, outcome.attempts, outcome.interruptions) == (JobStatus.FAILED, 0, 3)
    assert outcome.error is not None
    assert outcome.error["code"] == "poison"
    assert trouble.crashes == 3


def test_bystanders_of_a_poison_job_complete(rig: Rig) -> None:
    ids = [rig.client.submit() for _ in range(6)]
    trouble = Poisoned(rig, {ids[1]})
    trouble.lead()
    outcomes = {job_id: rig.wait_for(job_id, within_s=300).status for job_id in ids}
    assert outcomes.pop(ids[1]) is JobStatus.FAILED
    assert set(outcomes.values()) == {JobStatus.COMPLETED}


def test_two_poison_jobs_do_not_condemn_a_bystander_between_them(rig: Rig) -> None:
    """The second one strikes while the bystander, a suspect by then, is in quarantine: it must be alone there."""
    ids = [rig.client.submit() for _ in range(3)]
    late = [rig.client.submit() for _ in range(2)]
    trouble = Poisoned(rig, {ids[0], late[0]})
    trouble.lead()
    for job_id in (*ids, *late):
        expected = JobStatus.FAILED if job_id in trouble.poison else JobStatus.COMPLETED
        assert rig.wait_for(job_id, within_s=600).status is expected


def test_a_suspect_runs_with_nothing_beside_it_and_the_queue_goes_on_afterwards(rig: Rig) -> None:
    suspect = rig.client.submit()
    trouble = Poisoned(rig, {suspect})
    trouble.lead()
    rig.world.run_until(lambda: trouble.crashes == 2)
    others = [
        rig.client.submit()
    ]  # claimed while the suspect's last claim is still being closed; a worker is left free
    rig.world.run_until(lambda: len(trouble.alone) == 3, within_s=100)
    assert trouble.alone == [True, True, True]
    others += [rig.client.submit() for _ in range(3)]
    for job_id in others:
        assert rig.wait_for(job_id).status is JobStatus.COMPLETED


def submit_suspect(rig: Rig) -> str:
    """A job that ran each time its node crashed."""
    job_id = rig.client.submit()
    for _ in range(2):
        rig.node.lead()
        rig.wait_for_run(job_id)
        rig.node.crash()
    return job_id


def test_nothing_is_started_beside_a_suspect_that_runs(rig: Rig) -> None:
    suspect = submit_suspect(rig)
    rig.node.lead()
    run = rig.wait_for_run(suspect)
    other = rig.client.submit()
    rig.settle(5)
    assert rig.node.runs_of(other) == []
    rig.node.do(run)
    rig.wait_for_run(other)


def test_the_claim_of_a_suspect_says_that_it_was_alone(rig: Rig) -> None:
    suspect = rig.client.submit()
    trouble = Poisoned(rig, {suspect})
    trouble.lead()
    rig.wait_for(suspect, within_s=300)
    claims = [
        Claim.from_value(event.kv.key, event.kv.value)
        for write in rig.world.log
        for event in write.events
        if event.kv.key.startswith(KEYS.run) and event.kv.value
    ]
    assert [(claim.quarantined, len(claim.entries)) for claim in claims] == [(False, 1), (False, 1), (True, 1)]


def test_a_suspect_waits_for_the_runs_that_are_under_way(rig: Rig) -> None:
    """Else a crash of one of them would be held against it."""
    suspect = submit_suspect(rig)
    rig.client.cancel(suspect, "not yet")  # free the way for another job first
    other = rig.client.submit()
    rig.node.lead()
    run = rig.wait_for_run(other)
    rig.wait_for(suspect)
    assert rig.node.runs == [run]


def test_one_crash_is_forgiven_when_one_is_allowed_and_the_second_alone_condemns(rig: Rig) -> None:
    job_id = rig.client.submit(limits=JobLimits(max_interruptions=1))
    trouble = Poisoned(rig, {job_id})
    trouble.lead()
    assert rig.wait_for(job_id, within_s=300).interruptions == 2


def test_interruptions_by_handing_back_are_never_held_against_a_job() -> None:
    rig = Rig(jobs=options(drain_timeout=0))
    job_id = rig.client.submit()
    for turn in range(5):
        rig.node.lead()
        run = rig.wait_for_run(job_id, runs=turn + 1)
        rig.node.started(run)
        rig.node.hand_back()
        rig.world.run_until(lambda: rig.node.handed_back)
        rig.node.lose()
        rig.node.end(run)
    rig.node.lead().body = lambda start: RETURNED
    outcome = rig.wait_for(job_id)
    assert (outcome.status, outcome.interruptions) == (JobStatus.COMPLETED, 5)


def test_a_suspect_that_was_taken_away_by_an_operator_does_not_block_the_queue(rig: Rig) -> None:
    suspect = submit_suspect(rig)
    rig.node.lead()
    run = rig.wait_for_run(suspect)
    rig.world.apply(Delete(KEYS.run, prefix_end(KEYS.run)))
    rig.world.apply(Delete(KEYS.queue + suspect.encode()))
    rig.settle(1)
    rig.node.end(run)
    other = rig.client.submit()
    rig.wait_for_run(other)
