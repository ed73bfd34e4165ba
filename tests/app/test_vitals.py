"""What the kernel says about ourselves, read from files as it writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.app.vitals import SETTLE_S, Vitals

LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max processes             15000                15000                processes
Max open files            100                  4096                 files
"""


class Machine:
    """A process and a cgroup as files, and clocks that are set by hand."""

    def __init__(self, home: Path) -> None:
        self.process, self.cgroup = home / "self", home / "cgroup"
        (self.process / "fd").mkdir(parents=True)
        self.cgroup.mkdir()
        self.now, self.asleep_s = 1000.0, 5.0
        (self.process / "limits").write_text(LIMITS)
        self.throttled(0)
        self.pressure(0.0)
        self.vitals = Vitals(
            process=self.process,
            cgroup=self.cgroup,
            monotonic=lambda: self.now,
            boottime=lambda: self.now + self.asleep_s,
        )

    def descriptors(self, count: int) -> None:
        for number in range(count):
            (self.process / "fd" / str(number)).touch()

    def throttled(self, usec: int) -> None:
        (self.cgroup / "cpu.stat").write_text(
            f"usage_usec 5\nnr_throttled 3\nthrottled_usec {usec}\n"
        )

    def pressure(self, share: float) -> None:
        line = "avg10={} avg60=0.00 avg300=0.00 total=7"
        text = f"some {line.format('90.00')}\nfull {line.format(f'{share:.2f}')}\n"
        (self.cgroup / "memory.pressure").write_text(text)

    def look(self) -> str | None:
        self.now += 2.0
        self.vitals.look()
        return self.vitals.ailment


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A healthy machine."""
    return Machine(tmp_path)


def test_a_healthy_machine_has_no_ailment(machine: Machine) -> None:
    """Also where nobody tells: no cgroup, no /proc, as on another system."""
    assert [machine.look(), machine.look()] == [None, None]
    nowhere = Vitals(process=Path("/nowhere"), cgroup=Path("/nowhere"))
    nowhere.look()
    nowhere.look()
    assert nowhere.ailment is None


def test_descriptors_that_run_out(machine: Machine) -> None:
    """The second look in a row tells, with both numbers; it is over when there are some again."""
    machine.descriptors(95)
    assert machine.look() is None
    assert machine.look() == "file descriptors run out: 95 of 100 are in use"
    for path in (machine.process / "fd").iterdir():
        path.unlink()
    assert machine.look() is None


def test_a_cpu_quota_that_keeps_us_waiting(machine: Machine) -> None:
    """What counts is the share of the time since the last look."""
    machine.throttled(1_200_000)
    machine.look()
    machine.throttled(2_400_000)
    assert machine.look() == "the CPU quota kept us waiting for 60% of the last 2 s"
    assert machine.look() is None


def test_memory_that_everything_waits_for(machine: Machine) -> None:
    """The kernel's own measure of stall, and only where all of us wait."""
    machine.pressure(45.0)
    machine.look()
    assert machine.look() == "memory is short: everything waited for it 45 % of the time"


def test_a_machine_that_slept(machine: Machine) -> None:
    """It is told at once, and for as long as the network may need to come back."""
    machine.asleep_s += 300.0
    assert machine.look() == "the machine slept for 300 s"
    looks = [machine.look() for _ in range(int(SETTLE_S / 2))]
    assert looks[-2:] == ["the machine slept for 300 s", None]


def test_files_that_say_something_else_say_nothing(machine: Machine) -> None:
    """A future kernel's words are no ailment."""
    (machine.process / "limits").write_text(
        "Max open files            unlimited  unlimited  files\n"
    )
    (machine.cgroup / "cpu.stat").write_text("throttled_usec many\n\n")
    (machine.cgroup / "memory.pressure").write_text("full avg10=a.lot\n")
    assert [machine.look(), machine.look()] == [None, None]


def test_the_real_machine_can_be_looked_at() -> None:
    """The files are where we look for them, or missing without harm."""
    vitals = Vitals()
    vitals.look()
    assert vitals.ailment is None or isinstance(vitals.ailment, str)
