"""The record of an objective against a brute-force count of everything that happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.model import Outcome, Sample, WindowRow
from monitor.slo.objective import (
    Budgeting,
    CalendarUnit,
    MaintenanceMode,
    Objective,
    Period,
    Sli,
    SliKind,
)
from monitor.slo.record import SloRecord, owner_of
from monitor.slo.targets import TargetState
from monitor.slo.window import window_span_s
from tests.slo.world import BAD, GOOD, UNKNOWN, sample, target

MINUTE, HOUR, DAY = 60, 3600, 86400
START = 1_700_000_003.0
SLOW = Fraction("0.3")
WINDOWS = (300, HOUR, 6 * HOUR, DAY, 3 * DAY, 30 * DAY)
UPTIME = Objective(target=Fraction(999, 1000))
AVAILABILITY = Objective(target=Fraction(999, 1000), slis=(Sli(kind=SliKind.AVAILABILITY),))
LATENCY = Objective(
    target=Fraction(95, 100), slis=(Sli(kind=SliKind.LATENCY, below_s=SLOW),), name="quick"
)


@dataclass(frozen=True, slots=True)
class Event:
    """Time passes, then a sample of one of two targets arrives, or a past hour is corrected."""

    gap_s: float
    late_s: float
    outcome: Outcome
    latency_s: float | None
    which: int


events = st.lists(
    st.builds(
        Event,
        gap_s=st.sampled_from([0, 1, 10, 15, 60, 299, 3600, 7300, 90_000, 300_000]),
        late_s=st.sampled_from([0, 0, 0, 5, 30, 400, 4000, -20]),
        outcome=st.sampled_from(Outcome),
        latency_s=st.sampled_from([None, 0.1, 0.3, 0.30000000000000004, 0.29999999999999999]),
        which=st.integers(0, 1),
    ),
    max_size=25,
)


def states(now: float, intervals_s: Sequence[float] = (15.0, 60.0)) -> list[TargetState]:
    return [
        TargetState(target(f"web/{number}", interval_s), now, ())
        for number, interval_s in enumerate(intervals_s)
    ]


def record(
    objective: Objective, found: Sequence[TargetState], now: float, maintained: object = None
) -> SloRecord:
    return SloRecord("web", objective, found, now, maintained)  # type: ignore[arg-type]


def judged(objective: Objective, each: Sample) -> Outcome:
    if objective is not LATENCY or each.outcome is not GOOD:
        return each.outcome
    if each.latency_s is None:
        return UNKNOWN
    return GOOD if Fraction(each.latency_s) < SLOW else BAD


def weight(objective: Objective, state: TargetState) -> int:
    return int(state.target.interval_s) if objective.is_time else 1


@settings(max_examples=60)
@given(events, st.sampled_from([UPTIME, AVAILABILITY, LATENCY]), st.integers(0, 25))
def test_every_window_equals_a_count_of_the_whole_history(
    story: list[Event], objective: Objective, killed_after: int
) -> None:
    """Late, future and unknown samples, ties at the threshold and a restart lose nothing."""
    found, now = states(START), START
    subject = record(objective, found, now)
    rows: dict[str, WindowRow] = {}
    history: list[tuple[float, Outcome, int]] = []
    for number, event in enumerate(story):
        now += event.gap_s
        state = found[event.which]
        new = sample(now - event.late_s, event.outcome, state.target.id, latency_s=event.latency_s)
        subject.take(new, now)
        subject.step(now)
        history.append((min(new.at, now), judged(objective, new), weight(objective, state)))
        rows |= {row.part: row for row in subject.flush()}
        if number == killed_after:
            subject = record(objective, found, now)
            assert subject.restore(rows.values(), now) == 0
    subject.step(now)
    for window_s in WINDOWS:
        inside = [each for each in history if each[0] >= now - window_span_s(window_s, now)]
        expected = [
            sum(units for _, outcome, units in inside if outcome is wanted)
            for wanted in (GOOD, BAD, UNKNOWN)
        ]
        counts = subject.counts(window_s)
        assert [counts.good, counts.bad, counts.unknown] == expected, window_s


@settings(max_examples=40)
@given(events, st.integers(0, 24), st.sampled_from([UPTIME, AVAILABILITY, LATENCY]))
def test_what_is_taken_back_is_unknown(
    story: list[Event], which: int, objective: Objective
) -> None:
    """As if it had never been known, in all windows."""
    found, now = states(START), START
    subject, plain = record(objective, found, now), record(objective, found, now)
    for number, event in enumerate(story):
        now += event.gap_s
        state = found[event.which]
        new = sample(now, event.outcome, state.target.id, latency_s=event.latency_s)
        subject.take(new, now)
        outcome = UNKNOWN if number == which else event.outcome
        plain.take(sample(now, outcome, state.target.id, latency_s=event.latency_s), now)
        if number == which:
            subject.take_back(new, now)
    for each in (subject, plain):
        each.step(now)
    for window_s in WINDOWS:
        assert subject.counts(window_s) == plain.counts(window_s), window_s


def test_intervals_that_are_no_whole_seconds_are_counted_in_milliseconds() -> None:
    """1.5 s of up time are 1.5 s, not one and not two."""
    found = states(0.0, [1.5])
    subject = record(UPTIME, found, 0.0)
    for number in range(3):
        subject.take(sample(number * 1.5, GOOD, "web/0"), number * 1.5)
    assert subject.counts(300).good == 4500


def test_a_new_objective_begins_with_what_its_targets_know() -> None:
    """A reload that adds an objective finds its history; one of latencies begins anew."""
    found = states(0.0, [15.0])
    for number in range(20):
        outcome = BAD if number < 5 else GOOD
        found[0].window.advance(number * 15.0)
        found[0].file(sample(number * 15.0, outcome, "web/0", latency_s=0.1), number * 15.0)
    assert record(UPTIME, found, 300.0).counts(HOUR)[:2] == (225, 75)
    assert record(AVAILABILITY, found, 300.0).counts(HOUR)[:2] == (15, 5)
    assert record(LATENCY, found, 300.0).counts(HOUR).valid == 0


def test_what_counts_something_else_is_stored_under_another_name() -> None:
    """A changed definition begins anew; a changed target, period or alert goes on."""
    assert owner_of("web", UPTIME) == "slo:web/availability"
    looser = Objective(target=Fraction(9, 10), period_s=7 * DAY)
    assert owner_of("web", looser) == owner_of("web", UPTIME)
    assert owner_of("web", AVAILABILITY) != owner_of("web", UPTIME)


# --- slices ----------------------------------------------------------------------------------


def sliced(budgeting: Budgeting, slice_target: str = "1") -> Objective:
    return Objective(
        target=Fraction(95, 100),
        period_s=14 * DAY,
        slis=(Sli(kind=SliKind.AVAILABILITY),),
        budgeting=budgeting,
        slice_target=Fraction(slice_target),
    )


def fed(objective: Objective, slices: Sequence[Sequence[Outcome]]) -> tuple[SloRecord, float]:
    """Return the record of minutes that each hold these samples, and when all are judged."""
    found, now = states(0.0, [10.0]), 0.0
    subject = record(objective, found, now)
    for minute, outcomes in enumerate(slices):
        for number, outcome in enumerate(outcomes):
            now = minute * 60.0 + number * 10
            subject.take(sample(now, outcome, "web/0"), now)
            subject.step(now)
    now = len(slices) * 60.0 + 30
    subject.step(now)
    return subject, now


@pytest.mark.parametrize(
    ("slice_target", "bad"), [("1", 3), ("0.8", 1), ("0.75", 1), ("0.5", 1), ("0.2", 0)]
)
def test_a_slice_is_good_or_bad_as_a_whole(slice_target: str, bad: int) -> None:
    """Its share of good samples decides, and a tie with the target is good."""
    minutes = [[GOOD] * 5, [GOOD] * 5 + [BAD], [BAD] * 3 + [GOOD], [GOOD] * 4 + [BAD]]
    subject, _ = fed(sliced(Budgeting.TIMESLICES, slice_target), minutes)
    counts = subject.counts(HOUR)
    assert (counts.bad, counts.good) == (bad, 4 - bad)


def test_the_ratio_of_slices_is_the_mean_of_their_shares() -> None:
    """OpenSLO's ratio timeslices: 1, 5/6 and 1/4 are 0.694 on average."""
    minutes = [[GOOD] * 5, [GOOD] * 5 + [BAD], [BAD] * 3 + [GOOD]]
    subject, _ = fed(sliced(Budgeting.RATIO_TIMESLICES), minutes)
    counts = subject.counts(HOUR)
    mean = (1 + Fraction(5, 6) + Fraction(1, 4)) / 3
    assert Fraction(counts.good, counts.valid) == pytest.approx(mean, abs=1e-6)


def test_a_minute_without_samples_is_neither() -> None:
    """It is missing, which lowers the coverage and no ratio."""
    subject, now = fed(sliced(Budgeting.TIMESLICES), [[GOOD], [], [UNKNOWN], [BAD]])
    assert subject.counts(HOUR)[:2] == (1, 1)
    assert subject.coverage(300, now) == pytest.approx(0.5)


def test_late_news_judges_a_slice_anew() -> None:
    """A sample that comes after the verdict changes it, also across a restart."""
    objective = sliced(Budgeting.TIMESLICES)
    subject, now = fed(objective, [[GOOD], [GOOD]])
    rows = {row.part: row for row in subject.flush()}
    again = record(objective, states(0.0, [10.0]), now)
    again.restore(rows.values(), now)
    again.take(sample(59.0, BAD, "web/0"), now)
    again.step(now + 1)
    assert again.counts(HOUR)[:2] == (1, 1)
    again.take_back(sample(59.0, BAD, "web/0"), now)
    again.step(now + 2)
    assert again.counts(HOUR)[:2] == (2, 0)


def test_two_weeks_of_minutes_at_95_percent_allow_1008_bad_ones() -> None:
    """Vector D14: 20160 slices, 1008 of them, 16 h 48 min."""
    objective = sliced(Budgeting.TIMESLICES)
    assert objective.period_s // objective.slice_s == 20160
    assert objective.allowed * 20160 == 1008
    assert objective.allowed_s == 1008 * 60 == 16 * HOUR + 48 * MINUTE


# --- states ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sli", "good_s", "bad_s", "unknown_s"),
    [
        (Sli(kind=SliKind.FRESHNESS, max_age_s=60.0), 60, 30, 10),
        (Sli(kind=SliKind.HEALTH), 20, 70, 10),
        (Sli(kind=SliKind.CERTIFICATE, days=1.0), 50, 50, 0),
    ],
)
def test_a_state_counts_the_time_for_which_it_lasts(
    sli: Sli, good_s: int, bad_s: int, unknown_s: int
) -> None:
    """Good until 20 s, then failing until 90 s, then nothing is heard."""
    objective = Objective(target=Fraction(9, 10), slis=(sli,))
    found = states(0.0, [10.0])
    subject = record(objective, found, 0.0)
    for now in range(0, 101, 5):
        if now <= 90 and now % 10 == 0:
            outcome = GOOD if now < 20 else BAD
            new = sample(
                float(now), outcome, "web/0", certificate_expires_at=DAY + 50.0 if not now else None
            )
            found[0].file(new, float(now))
        subject.step(float(now))
    counts = subject.counts(HOUR)
    total = (counts.good + counts.bad + counts.unknown) / 1000
    assert total == 100
    assert counts.good / 1000 == pytest.approx(good_s, abs=20)
    assert counts.bad / 1000 == pytest.approx(bad_s, abs=20)
    assert counts.unknown / 1000 == pytest.approx(unknown_s, abs=10)


# --- maintenance and corrections ---------------------------------------------------------------


def an_hour(mode: MaintenanceMode, maintained: object = None) -> tuple[SloRecord, float]:
    """Return a record of an hour whose second quarter was down."""
    objective = Objective(target=Fraction(99, 100), maintenance=mode)
    found = states(0.0, [10.0])
    subject = record(objective, found, 0.0, maintained)
    for now in range(0, HOUR, 10):
        outcome = BAD if 900 <= now < 1800 else GOOD
        subject.take(sample(float(now), outcome, "web/0"), float(now))
    subject.step(HOUR - 1.0)
    return subject, HOUR - 1.0


def in_second_quarter(at: float) -> bool:
    return 900 <= at < 1800


def test_the_two_conventions_of_maintenance_give_different_numbers() -> None:
    """Dropped, its 15 min leave the ratio; counted as good, they dilute it."""
    plain, now = an_hour(MaintenanceMode.DROP)
    dropped, _ = an_hour(MaintenanceMode.DROP, lambda at: 900 <= at < 1500)
    counted, _ = an_hour(MaintenanceMode.GOOD, lambda at: 900 <= at < 1500)
    errors = [
        Fraction(each.counts(2 * HOUR).bad, each.counts(2 * HOUR).valid)
        for each in (plain, dropped, counted)
    ]
    assert errors == [Fraction(900, 3600), Fraction(300, 3000), Fraction(300, 3600)]
    assert dropped.counts(2 * HOUR).excluded == 600
    assert dropped.coverage(HOUR, now) == pytest.approx(1.0, abs=0.01)


def test_the_choice_can_be_made_anew_for_the_past() -> None:
    """What was measured is kept, so a changed mode tells history in the other way."""
    subject, _ = an_hour(MaintenanceMode.DROP, in_second_quarter)
    assert subject.counts(2 * HOUR)[:2] == (2700, 0)
    objective = Objective(target=Fraction(99, 100), maintenance=MaintenanceMode.GOOD)
    subject.configure(objective, states(0.0, [10.0]), in_second_quarter)
    assert subject.counts(2 * HOUR)[:2] == (3600, 0)


@settings(max_examples=60)
@given(st.integers(0, 400), st.integers(1, 200), st.sampled_from([0, HOUR, 5 * HOUR, 4 * DAY]))
def test_a_correction_leaves_out_what_was_measured_then_and_undoing_brings_it_back(
    start: int, length: int, later_s: int
) -> None:
    """In every window, to the bucket that is still kept; also after a restart."""
    subject, now = an_hour(MaintenanceMode.DROP)
    now += later_s
    subject.step(now)
    before = [subject.counts(window_s) for window_s in WINDOWS]
    first, last = start * 10.0, (start + length) * 10.0
    subject.correct(first, last)
    if not later_s:
        inside = [at for at in range(0, HOUR, 10) if first <= at < last]
        excluded = sum(10 for _ in inside)
        assert subject.counts(2 * HOUR).excluded == excluded
        assert subject.counts(30 * DAY).excluded == excluded
        assert subject.counts(30 * DAY).bad == sum(
            10 for at in range(900, 1800, 10) if at not in inside
        )
    rows = {row.part: row for row in subject.flush()}
    again = record(subject.objective, states(0.0, [10.0]), now)
    assert again.restore(rows.values(), now) == 0
    for window_s in WINDOWS:
        assert again.counts(window_s) == subject.counts(window_s)
    again.correct(first, last, undo=True)
    assert [again.counts(window_s) for window_s in WINDOWS] == before


# --- budgets ------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(events, st.sampled_from([UPTIME, AVAILABILITY, LATENCY]))
def test_a_budget_is_an_interval_around_what_is_known(
    story: list[Event], objective: Objective
) -> None:
    """All that is unknown bad, what is known for all of it, all that is unknown good."""
    calendar = Period(length_s=30 * DAY, calendar=CalendarUnit.MONTH, zone="Europe/Berlin")
    both = Objective(target=objective.target, slis=objective.slis, more_periods=(calendar,))
    found, now = states(START), START
    subject = record(both, found, now)
    for event in story:
        now += event.gap_s
        new = sample(now, event.outcome, found[event.which].target.id, latency_s=event.latency_s)
        subject.take(new, now)
    subject.step(now)
    budgets = subject.budgets(now)
    assert len(budgets) in {0, 1, 2}
    for budget in budgets:
        assert budget.worst <= budget.remaining + 1e-9
        assert budget.remaining <= budget.best + 1e-9
        assert budget.best <= 1
        assert budget.coverage is None or 0 < budget.coverage <= 1


def test_a_month_and_thirty_days_are_told_from_one_record() -> None:
    """The outage of the last day of March is in the 30 days and not in April."""
    berlin = Period(length_s=30 * DAY, calendar=CalendarUnit.MONTH, zone="Europe/Berlin")
    objective = Objective(target=Fraction(99, 100), more_periods=(berlin,))
    midnight = 1_774_994_400.0  # 2026-04-01T00:00 in Berlin, which is 22:00 UTC
    found = states(midnight - 2 * DAY, [300.0])
    subject = record(objective, found, midnight - 2 * DAY)
    for number in range(int(4 * DAY / 300)):
        now = midnight - 2 * DAY + number * 300
        outcome = BAD if midnight - HOUR <= now < midnight + 600 else GOOD
        subject.take(sample(now, outcome, "web/0"), now)
    rolling, april = subject.budgets(midnight + 2 * DAY - 1)
    assert (rolling.bad, april.bad) == (HOUR + 600, 600)
    assert april.end - april.start == 30 * DAY
    assert april.down_s == 600
    assert april.remaining == pytest.approx(1 - 600 / (0.01 * 30 * DAY), abs=1e-3)


def test_sloths_daily_points() -> None:
    """Vector D20: 99.0, 99.1 .. 99.6 % on seven days of a 30 day budget at 99.9 %."""
    found = states(0.0, [86.4])
    subject = record(
        Objective(target=Fraction(999, 1000), slis=(Sli(kind=SliKind.AVAILABILITY),)), found, 0.0
    )
    left = []
    for day in range(7):
        for number in range(1000):
            now = day * DAY + number * 86.4
            outcome = BAD if number < 10 - day else GOOD
            subject.take(sample(now, outcome, "web/0"), now)
        [budget] = subject.budgets((day + 1) * DAY - 1.0)
        left.append(100 * budget.remaining)
    assert left == pytest.approx([66.67, 36.67, 10, -13.33, -33.33, -50, -63.33], abs=0.05)
