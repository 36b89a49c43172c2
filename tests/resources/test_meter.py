"""What is free, as shares of what may be used."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path

import pytest

from slurp_leader.clock import SystemClock
from slurp_leader.election.ranking.scoring import Free
from slurp_leader.resources import MachineMeter
from slurp_leader.resources.cgroup import Cgroups, CpuLimit, MemoryLimit
from slurp_leader.resources.machine import CoreTimes, ThisMachine
from slurp_leader.resources.meter import CpuReading, free_cpu

GIB = 2**30


@dataclass
class Clock:
    now: float = 1000.0

    def boottime(self) -> float:
        return self.now

    def utcnow(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)


def fail() -> float:
    raise PermissionError("not for you")


@dataclass
class Around:
    """A machine with its groups, and a clock, all of which do what a test says."""

    clock: Clock = field(default_factory=Clock)
    times: list[CoreTimes] = field(default_factory=lambda: [CoreTimes(0.0, 0.0)] * 4)
    count: int = 4
    available: int = 8 * GIB
    total: int = 16 * GIB
    load1: Callable[[], float] = lambda: 1.0
    is_broken: bool = False
    cpu_limits: list[CpuLimit] = field(default_factory=list)
    memory_limits: list[MemoryLimit] = field(default_factory=list)

    def core_times(self) -> list[CoreTimes]:
        if self.is_broken:
            raise OSError("no such file")
        return self.times

    def cores(self) -> int:
        return self.count

    def load(self) -> float:
        return self.load1()

    def memory(self) -> tuple[int, int]:
        return self.available, self.total

    def pass_time(self, seconds: float, idle: float, used_s: float = 0.0) -> None:
        """All cores go on, with this share idle; the groups use so much processor time of them."""
        self.clock.now += seconds
        self.times = [CoreTimes(each.idle_s + idle * seconds, each.total_s + seconds) for each in self.times]
        self.cpu_limits = [CpuLimit(each.cores, each.used_s + used_s) for each in self.cpu_limits]

    def meter(self) -> MachineMeter:
        return MachineMeter(self.clock, machine=self, cgroups=Limits(self))


class Limits(Cgroups):
    def __init__(self, around: Around) -> None:
        self._around = around

    def cpu(self) -> list[CpuLimit]:
        return self._around.cpu_limits

    def memory(self) -> list[MemoryLimit]:
        return self._around.memory_limits


# ---------------------------------------------------------------- processor


def test_the_processor_is_not_known_from_one_sample() -> None:
    around = Around()
    meter = around.meter()
    assert meter.sample().cpu is None
    around.pass_time(2.0, idle=0.75)
    assert meter.sample().cpu == pytest.approx(0.75)


def test_over_a_short_interval_the_last_measurement_stands() -> None:
    around = Around()
    meter = around.meter()
    meter.sample()
    around.pass_time(2.0, idle=0.75)
    meter.sample()
    around.pass_time(0.4, idle=0.0)
    assert meter.sample().cpu == pytest.approx(0.75)
    around.pass_time(0.4, idle=0.0)
    assert meter.sample().cpu == pytest.approx(0.0)  # both short ones together


def test_under_a_quota_what_is_left_of_it_is_free() -> None:
    around = Around(cpu_limits=[CpuLimit(2.0, 5.0)])
    meter = around.meter()
    meter.sample()
    around.pass_time(2.0, idle=0.9, used_s=3.0)  # 1.5 of 2 cores
    assert meter.sample().cpu == pytest.approx(0.25)


def test_under_a_quota_no_more_is_free_than_the_machine_has() -> None:
    around = Around(cpu_limits=[CpuLimit(2.0, 5.0)])
    meter = around.meter()
    meter.sample()
    around.pass_time(2.0, idle=0.25, used_s=0.0)  # one of four cores is idle
    assert meter.sample().cpu == pytest.approx(0.5)


def test_the_tightest_of_several_quotas_counts() -> None:
    around = Around(cpu_limits=[CpuLimit(2.0, 5.0), CpuLimit(1.0, 5.0)])
    meter = around.meter()
    meter.sample()
    around.pass_time(2.0, idle=1.0, used_s=1.0)
    assert meter.sample().cpu == pytest.approx(0.5)


def test_a_quota_beyond_the_cores_does_not_count() -> None:
    around = Around(cpu_limits=[CpuLimit(64.0, 0.0)])
    meter = around.meter()
    meter.sample()
    around.pass_time(2.0, idle=0.5)
    assert meter.sample().cpu == pytest.approx(0.5)


def test_readings_of_different_cores_or_groups_are_not_compared() -> None:
    around = Around()
    meter = around.meter()
    meter.sample()
    around.pass_time(2.0, idle=0.5)
    around.times = around.times[:3]
    assert meter.sample().cpu is None
    around.pass_time(2.0, idle=0.5)
    around.cpu_limits = [CpuLimit(1.0, 0.0)]
    assert meter.sample().cpu is None


def test_counters_that_stand_still_or_go_back_tell_nothing() -> None:
    around = Around()
    meter = around.meter()
    meter.sample()
    around.clock.now += 5
    assert meter.sample().cpu is None
    around.pass_time(5.0, idle=2.0)  # more idle than there was time
    assert meter.sample().cpu == 1.0


def test_two_readings_that_do_not_belong_together_tell_nothing() -> None:
    cores, limit = [CoreTimes(1.0, 2.0)], CpuLimit(1.0, 0.0)
    later = [CoreTimes(2.0, 4.0)]
    assert free_cpu(CpuReading(1.0, cores, []), CpuReading(3.0, later, [])) == pytest.approx(0.5)
    assert free_cpu(CpuReading(1.0, cores, []), CpuReading(3.0, cores, [])) is None
    assert free_cpu(CpuReading(1.0, cores, []), CpuReading(1.0, later, [])) is None
    assert free_cpu(CpuReading(1.0, cores, []), CpuReading(3.0, later * 2, [])) is None
    assert free_cpu(CpuReading(1.0, cores, []), CpuReading(3.0, later, [limit])) is None


# ---------------------------------------------------------------- memory and load


def test_memory_that_can_be_had_is_free() -> None:
    assert Around().meter().sample().memory == pytest.approx(0.5)


def test_under_a_limit_what_is_left_of_it_is_free() -> None:
    assert Around(memory_limits=[MemoryLimit(GIB, GIB // 4)]).meter().sample().memory == pytest.approx(0.75)
    assert Around(memory_limits=[MemoryLimit(GIB, 2 * GIB)]).meter().sample().memory == 0.0


def test_the_tightest_of_several_limits_counts() -> None:
    around = Around(memory_limits=[MemoryLimit(2 * GIB, 0), MemoryLimit(4 * GIB, 3 * GIB)])
    assert around.meter().sample().memory == pytest.approx(0.5)  # 1 GiB above, of 2 here


def test_a_limit_beyond_the_machine_does_not_count() -> None:
    assert Around(memory_limits=[MemoryLimit(64 * GIB, 0)]).meter().sample().memory == pytest.approx(0.5)


@pytest.mark.parametrize(("load", "free"), [(0.0, 1.0), (1.0, 0.75), (4.0, 0.0), (40.0, 0.0)])
def test_load_is_a_share_of_the_cores(load: float, free: float) -> None:
    assert Around(load1=lambda: load).meter().sample().load == pytest.approx(free)


def test_load_of_the_machine_says_nothing_where_only_a_part_of_it_may_be_used() -> None:
    assert Around(cpu_limits=[CpuLimit(2.0, 0.0)]).meter().sample().load is None
    assert Around(times=[CoreTimes(0.0, 0.0)] * 2).meter().sample().load is None
    assert Around(cpu_limits=[CpuLimit(4.0, 0.0)]).meter().sample().load is not None


# ---------------------------------------------------------------- what cannot be read


def test_what_cannot_be_read_is_unknown_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    meter = Around(load1=fail, total=0).meter()
    with caplog.at_level(logging.DEBUG, "slurp_leader.resources"):
        assert meter.sample() == Free(None, None, None)
        assert meter.sample() == Free(None, None, None)
    assert [each.getMessage().split()[0] for each in caplog.records] == ["resources.unreadable"]
    assert {each.levelno for each in caplog.records} == {logging.DEBUG}


def test_after_a_failed_reading_the_one_before_it_is_compared_with() -> None:
    around = Around()
    meter = around.meter()
    meter.sample()
    around.pass_time(2.0, idle=1.0)
    around.is_broken = True
    assert meter.sample().cpu is None
    around.is_broken = False
    around.pass_time(2.0, idle=0.5)
    assert meter.sample().cpu == pytest.approx(0.75)


def test_a_broken_tree_of_groups_leaves_all_unknown(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_bytes(b"\xff\xfe")
    (tmp_path / "proc/self/mountinfo").write_text("nothing\n - cgroup2\n")
    meter = MachineMeter(Clock(), machine=Around(), cgroups=Cgroups(tmp_path))
    assert meter.sample() == Free(None, None, None)


# ---------------------------------------------------------------- this machine


def test_several_threads_may_ask_at_once() -> None:
    meter = MachineMeter(SystemClock())
    found: list[Free] = []
    threads = [threading.Thread(target=lambda: found.extend(meter.sample() for _ in range(20))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80


def test_this_machine_can_be_measured() -> None:
    clock = Clock()
    meter = MachineMeter(clock)
    first = meter.sample()
    clock.now += 1000  # the meter believes that time has passed; the counters know how much did
    burn = sum(number * number for number in range(2_000_000))
    second = meter.sample()
    assert burn
    assert first.cpu is None
    assert second.memory is not None
    for each in fields(Free):
        share = getattr(second, each.name)
        assert share is None or 0 <= share <= 1


def test_this_machine_knows_its_cores() -> None:
    machine = ThisMachine()
    assert 1 <= len(machine.core_times()) <= machine.cores()
    assert all(0 < each.idle_s <= each.total_s for each in machine.core_times())
    available, total = machine.memory()
    assert 0 < available < total
    assert machine.load() >= 0
