"""The options of the election, and the times that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, Self

from pydantic import Field, model_validator

from slurp_leader.election.ranking.scoring import Weights
from slurp_leader.errors import ConfigurationError
from slurp_leader.options import Capabilities, Duration, FieldError, Flag, KeySegment, Options, Ratio

_SHORTEST_TTL_S = 3
_LONGEST_TTL_S = 3600
_LEAST_MARGIN_S = 0.3
_SHORTEST_STALL_S = 2


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """The times of one lease, in seconds, as they follow from its TTL and from what was set by hand."""

    ttl_s: int
    renew_interval_s: float
    rpc_timeout_s: float
    margin_s: float

    @property
    def needed_s(self) -> float:
        """What one failed and one good renewal may take in all, margin included.

        A renewal is two calls, keepalive and heartbeat, and one full retry has to fit: four RPC timeouts.
        """
        return self.renew_interval_s + 4 * self.rpc_timeout_s + self.margin_s

    @property
    def fits(self) -> bool:
        """Whether a leader survives one failed renewal (PROTOCOL A13)."""
        return self.needed_s < self.ttl_s


class ElectionOptions(Options):
    """How one election is held. Equal on all nodes of a cluster, as far as possible."""

    section: ClassVar[str] = "election"

    name: KeySegment = "slurp"
    """Name of the election; nodes with the same name and cluster id compete. 1 to 128 of ``A-Z a-z 0-9 . _ -``."""

    lease_ttl: Duration = Field(
        default=timedelta(seconds=15), ge=timedelta(seconds=_SHORTEST_TTL_S), le=timedelta(seconds=_LONGEST_TTL_S)
    )
    """How long a silent leader keeps the lease. Whole seconds, 3 s to 1 h. Longer: fewer needless elections when
    network or disk stall, but a slower failover when host or network die."""

    renew_interval: Duration | None = Field(default=None, ge=timedelta(milliseconds=50))
    """Pause between two renewals. From 50 ms; unset: a fifth of the TTL. Longer: less load on etcd, later notice of
    a lost lease."""

    rpc_timeout: Duration | None = Field(default=None, ge=timedelta(milliseconds=50))
    """Deadline of one call for keepalive or heartbeat. From 50 ms; unset: 2/15 of the TTL. Longer: a slow etcd is
    endured, but less of the TTL is left for another try."""

    margin: Duration | None = Field(default=None, ge=timedelta(milliseconds=50))
    """What a leader stops ahead of the end of its lease. From 50 ms; unset: a tenth of the TTL, at least 0.3 s. Longer:
    safer against clocks that run at different speeds, but less time to renew."""

    guard: Flag = True
    """Whether a second process gives the lease back when this one dies or stalls, so that the next leader starts in
    milliseconds. Off: a crash costs the TTL. Costs 36 MB for each process."""

    stall_timeout: Duration = Field(default=timedelta(seconds=5), ge=timedelta(0), le=timedelta(hours=1))
    """Longest standstill of a leader: of its process, as seen by the guard, and of its scheduler of jobs. 2 s to 1 h;
    0: a standstill costs nothing until the TTL. Longer: a process that is stopped or holds the GIL for long keeps its
    term, a stalled leader is replaced later."""

    hook_timeout: Duration = Field(default=timedelta(seconds=5), ge=timedelta(milliseconds=100), le=timedelta(hours=1))
    """What a hook may take. 100 ms to 1 h. An `on_elected` hook that takes longer counts as a veto; of the others it is
    reported. Longer: a slow start is endured, a node that cannot start holds up the next one."""

    retry_interval: Duration = Field(
        default=timedelta(seconds=3), ge=timedelta(milliseconds=100), le=timedelta(minutes=5)
    )
    """How often a candidate tries to win without having seen an event. 100 ms to 5 min. Longer: less load on etcd, a
    longer vacancy when an event was missed."""

    stop_timeout: Duration = Field(default=timedelta(seconds=30), ge=timedelta(milliseconds=100), le=timedelta(hours=1))
    """Longest time that stopping waits for work of the term to end before it lets go, and a handover for periodic runs.
    100 ms to 1 h. Longer: less work is thrown away, a slower stop."""

    takeover_timeout: Duration = Field(
        default=timedelta(seconds=3), ge=timedelta(milliseconds=100), le=timedelta(minutes=5)
    )
    """How long whoever was handed the lead may take to its first heartbeat; then others take the lead from it. 100 ms
    to 5 min. Longer: a slow successor is endured, a longer gap when it died at that very moment."""

    weight_capability: Ratio = Field(default=0.35, ge=0, le=1, allow_inf_nan=False)
    """How much it counts, in the score that says who campaigns first, what a node can do. 0 to 1. The five weights sum
    to 1, and are the same on all nodes of a cluster."""

    weight_resources: Ratio = Field(default=0.25, ge=0, le=1, allow_inf_nan=False)
    """How much it counts what is free of a node's processor, memory and load. 0 to 1."""

    weight_uptime: Ratio = Field(default=0.15, ge=0, le=1, allow_inf_nan=False)
    """How much it counts how long a node's process has run. 0 to 1."""

    weight_network: Ratio = Field(default=0.15, ge=0, le=1, allow_inf_nan=False)
    """How much it counts how fast etcd answers a node. 0 to 1."""

    weight_experience: Ratio = Field(default=0.10, ge=0, le=1, allow_inf_nan=False)
    """How much it counts how often and how long a node's process has led. 0 to 1."""

    requires: Capabilities | None = Field(default=None, max_length=64)
    """Capabilities without which a node does not lead; up to 64 names, as in `node.capabilities`. Unset: none for
    `LeaderElection`, ``project_manager`` for `SlurpLeaderSystem`."""

    min_nodes: int = Field(default=1, ge=1, le=1000)
    """Nobody campaigns before so many nodes stand. 1 to 1000. Higher: a half started cluster elects nobody. This is no
    quorum: that is etcd's own, and all of safety rests on it."""

    rank_wait: Duration = Field(default=timedelta(seconds=1), ge=timedelta(0), le=timedelta(minutes=1))
    """How long candidates with a lower score let those with a higher one go first; then first come, first served. 0 to
    1 min; 0: scores decide nothing. Longer: the best leads more often, a longer vacancy when it does not come."""

    publish_interval: Duration = Field(default=timedelta(minutes=1), ge=timedelta(seconds=1), le=timedelta(hours=1))
    """How often a candidate publishes what its score is made of. 1 s to 1 h. Longer: fewer writes, older
    scores."""

    @model_validator(mode="after")
    def _check_times(self) -> Self:
        if self.lease_ttl % timedelta(seconds=1):
            raise FieldError("lease_ttl", "must be whole seconds: etcd grants no fractions")
        timing = self.for_requested()
        if not timing.fits:
            raise FieldError("lease_ttl", self._misfit(timing))
        if timedelta(0) < self.stall_timeout < timedelta(seconds=_SHORTEST_STALL_S):
            given_s = self.stall_timeout_s
            raise FieldError("stall_timeout", f"{given_s:g} s: must be {_SHORTEST_STALL_S} s or more, or 0 for off")
        try:
            _ = self.weights
        except ConfigurationError as error:
            raise FieldError("weight_capability", f"{error}: change one of the weight_ settings") from None
        return self

    @property
    def weights(self) -> Weights:
        """The five weights of a score."""
        return Weights(
            self.weight_capability,
            self.weight_resources,
            self.weight_uptime,
            self.weight_network,
            self.weight_experience,
        )

    def for_requested(self) -> LeaseTiming:
        """The times for the TTL that is asked for; `for_granted` has them for what etcd gave."""
        return self._timing(self.lease_ttl_s)

    def for_granted(self, ttl_s: int) -> LeaseTiming:
        """The times for the TTL that etcd granted. What was not set by hand follows that TTL.

        Args:
            ttl_s: Granted TTL in seconds. etcd grants what was asked, or more; what stands before it may give less.

        Raises:
            ConfigurationError: The times set by hand do not fit into this TTL.
        """
        timing = self._timing(ttl_s)
        if not timing.fits:
            raise ConfigurationError(
                f"election.lease_ttl: etcd granted {ttl_s} s of {self.lease_ttl_s} s. {self._misfit(timing)}",
                field="election.lease_ttl",
            )
        return timing

    @property
    def lease_ttl_s(self) -> int:
        """The TTL to ask for, in whole seconds, as etcd wants it."""
        return int(self.lease_ttl.total_seconds())

    @property
    def renew_interval_s(self) -> float:
        """Seconds between two renewals under the requested TTL."""
        return self.for_requested().renew_interval_s

    @property
    def rpc_timeout_s(self) -> float:
        """Deadline of one call in seconds under the requested TTL."""
        return self.for_requested().rpc_timeout_s

    @property
    def margin_s(self) -> float:
        """Safety margin in seconds under the requested TTL."""
        return self.for_requested().margin_s

    @property
    def retry_interval_s(self) -> float:
        """Seconds between two tries without an event."""
        return self.retry_interval.total_seconds()

    @property
    def stall_timeout_s(self) -> float:
        """Longest standstill in seconds; 0: it does not matter."""
        return self.stall_timeout.total_seconds()

    @property
    def stall_margin_s(self) -> float:
        """How long before the guard may act trust ends: a tenth of `stall_timeout`, at least 0.3 s."""
        return max(self.stall_timeout_s / 10, _LEAST_MARGIN_S)

    @property
    def hook_timeout_s(self) -> float:
        """What a hook may take, in seconds."""
        return self.hook_timeout.total_seconds()

    @property
    def stop_timeout_s(self) -> float:
        """Longest wait of a stop in seconds."""
        return self.stop_timeout.total_seconds()

    @property
    def rank_wait_s(self) -> float:
        """The bound of the wait for better candidates, in seconds."""
        return self.rank_wait.total_seconds()

    @property
    def publish_interval_s(self) -> float:
        """Seconds between two publications of a candidate."""
        return self.publish_interval.total_seconds()

    @property
    def takeover_timeout_s(self) -> float:
        """Longest silence of a new successor in seconds."""
        return self.takeover_timeout.total_seconds()

    def _timing(self, ttl_s: int) -> LeaseTiming:
        return LeaseTiming(
            ttl_s=ttl_s,
            renew_interval_s=_seconds_or(self.renew_interval, ttl_s / 5),
            rpc_timeout_s=_seconds_or(self.rpc_timeout, ttl_s * 2 / 15),
            margin_s=_seconds_or(self.margin, max(ttl_s / 10, _LEAST_MARGIN_S)),
        )

    def _misfit(self, timing: LeaseTiming) -> str:
        return (
            f"renew_interval {timing.renew_interval_s:g} s + 4 x rpc_timeout {timing.rpc_timeout_s:g} s + margin "
            f"{timing.margin_s:g} s = {timing.needed_s:g} s must be less than lease_ttl {timing.ttl_s} s, or one lost "
            f"answer ends the term: {' or '.join(self._remedies(timing))}"
        )

    def _remedies(self, timing: LeaseTiming) -> list[str]:
        """Each change that would do alone: lower a number that was set by hand, or raise the TTL."""
        excess_s = timing.needed_s - timing.ttl_s
        rooms = {
            "renew_interval": (self.renew_interval, timing.renew_interval_s - excess_s),
            "rpc_timeout": (self.rpc_timeout, timing.rpc_timeout_s - excess_s / 4),
            "margin": (self.margin, timing.margin_s - excess_s),
        }
        remedies = [
            f"lower {name} below {room_s:g} s" for name, (by_hand, room_s) in rooms.items() if by_hand and room_s > 0.05
        ]
        enough = next((ttl for ttl in range(timing.ttl_s, _LONGEST_TTL_S + 1) if self._timing(ttl).fits), None)
        if enough is not None and enough <= self.lease_ttl_s:  # asked for, and not granted
            return [*remedies, f"let etcd grant {enough} s or more"]
        return remedies if enough is None else [*remedies, f"raise lease_ttl to {enough} s"]


def _seconds_or(duration: timedelta | None, default_s: float) -> float:
    return default_s if duration is None else duration.total_seconds()
