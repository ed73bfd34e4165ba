"""Whether we can see: when all is dark, who proves otherwise, and what is not counted then."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.model import Sample, Target
from monitor.probes.reason import Reason
from monitor.slo.engine import Engine, Step
from monitor.slo.network import network_of
from monitor.slo.sight import BLIND, DARK, HOLD_S, PROBER, PROBER_BLIND
from tests.slo.world import (
    BAD,
    FIRING,
    GOOD,
    INACTIVE,
    RESOLVED,
    UNKNOWN,
    Stored,
    restarted,
    rule,
    sample,
    spec,
    target,
    value,
)

NETWORKS = ("a.test", "b.test", "c.test")
TARGETS = [target(f"{name}/eu", 10, network=name, deployment=name) for name in NETWORKS]
WITNESS = target("witness/w", 10, network="w.test", deployment="")
HIGH_ERRORS = rule("error_rate_5m > 5")


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("shop.example.com", "example.com"),
        ("Example.COM.", "example.com"),
        ("db", "db"),
        ("localhost", ""),
        ("app.localhost", ""),
        ("127.0.0.1", ""),
        ("::1", ""),
        ("192.0.2.77", "192.0.0.0/16"),
        ("2001:db8:1:2::5", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/48"),
    ],
)
def test_the_network_of_a_host(host: str, network: str) -> None:
    """Neighbours share one, this machine has none."""
    assert network_of(host) == network


def test_the_reasons_are_those_of_probes() -> None:
    """What is dark to the engine is what probes say."""
    assert {*DARK, BLIND} <= {reason.value for reason in Reason}


def engine(*witnesses: Target) -> Engine:
    specs = [spec(each, name=each.deployment) for each in TARGETS]
    return Engine(specs, [HIGH_ERRORS], 0.0, witnesses)


def dark(at: float, name: str = "a.test/eu", reason: str = "connect_timeout") -> Sample:
    return sample(at, BAD, name, reason=reason, latency_s=5.0, censored=True)


def round_of(at: float, **said: Sample) -> list[Sample]:
    """One sample of every target at `at`: GOOD unless `said` has another for a, b or c."""
    return [said.get(name[0], sample(at, GOOD, f"{name}/eu")) for name in NETWORKS]


def all_dark(at: float) -> list[Sample]:
    return [dark(at, f"{name}/eu") for name in NETWORKS]


def run(subject: Engine, start: float, end: float, *, seeing: bool) -> list[Step]:
    times = range(int(start), int(end), 10)
    return [
        subject.step(at + 6.0, round_of(float(at)) if seeing else all_dark(float(at)))
        for at in times
    ]


def told(steps: list[Step]) -> list[tuple[str, str, object]]:
    return [(t.rule, t.deployment, t.after) for step in steps for t in step.transitions]


def test_when_nothing_answers_at_all_nobody_is_blamed() -> None:
    """Budgets stand still, no deployment pages, and our own alert comes and goes once."""
    subject = engine()
    run(subject, 0, 600, seeing=True)
    before = subject.window("a.test", 86400, 606.0)
    blind = run(subject, 610, 1210, seeing=False)
    during = subject.window("a.test", 86400, 1206.0)
    assert told(blind) == [(PROBER_BLIND, PROBER, FIRING)]
    assert subject.blindness is not None
    assert subject.blindness.since == 610.0
    assert (during.good, during.bad, during.unknown) == (before.good, 0, 60)
    again = run(subject, 1210, 1510, seeing=True)
    assert told(again) == [(PROBER_BLIND, PROBER, RESOLVED)]
    assert subject.blindness is None
    assert value(subject, "error_rate_1h", 1516.0, "a.test") == 0.0


def test_one_that_is_down_is_down() -> None:
    """As long as anything else answers, its own silence is its own."""
    subject = engine()
    run(subject, 0, 600, seeing=True)
    steps = [subject.step(at + 6.0, round_of(at, a=dark(at))) for at in (610.0, 620.0, 630.0)]
    assert (HIGH_ERRORS.name, "a.test", FIRING) in told(steps)
    assert subject.window("a.test", 60, 636.0).bad == 3


def test_an_answer_is_an_answer_whatever_it_says() -> None:
    """A status of 503 and a refused connection prove that the network works."""
    for reason in ("status", "connect_refused"):
        subject = engine()
        run(subject, 0, 300, seeing=True)
        proof = sample(310.0, BAD, "b.test/eu", reason=reason)
        subject.step(316.0, [dark(310.0), proof, dark(310.0, "c.test/eu")])
        subject.step(400.0, [])
        assert subject.blindness is None
        assert subject.window("a.test", 600, 400.0).bad == 1


def test_a_single_network_is_never_taken_for_our_own() -> None:
    """Without a second opinion an outage of all that is watched counts as one."""
    only = target("a.test/eu", 10, network="a.test", deployment="a.test")
    subject = Engine([spec(only, name="a.test")], [HIGH_ERRORS], 0.0)
    steps = [subject.step(at + 6.0, [dark(at)]) for at in (10.0, 20.0, 30.0)]
    assert subject.blindness is None
    assert (HIGH_ERRORS.name, "a.test", FIRING) in told(steps)


def test_who_was_silent_before_accuses_nobody() -> None:
    """A second outage is one: the first had begun long before, so they share no cause of ours."""
    two = [target(f"{name}/eu", 10, network=name, deployment=name) for name in NETWORKS[:2]]
    subject = Engine([spec(each, name=each.deployment) for each in two], [HIGH_ERRORS], 0.0)
    steps = []
    for at in range(10, 900, 10):
        said = [dark(float(at)) if at > 300 else sample(at, GOOD, "a.test/eu")]
        said.append(dark(float(at), "b.test/eu") if at > 600 else sample(at, GOOD, "b.test/eu"))
        steps.append(subject.step(at + 6.0, said))
    fired = [(rule, where) for rule, where, state in told(steps) if state == FIRING]
    assert fired == [(HIGH_ERRORS.name, "a.test"), (HIGH_ERRORS.name, "b.test")]


def test_a_witness_that_never_answered_accuses_nobody() -> None:
    """A wrong address in the configuration must not hide an outage."""
    only = target("a.test/eu", 10, network="a.test", deployment="a.test")
    subject = Engine([spec(only, name="a.test")], [HIGH_ERRORS], 0.0, [WITNESS])
    steps = []
    for at in range(10, 600, 10):
        word = dark(float(at)) if at > 300 else sample(at, GOOD, "a.test/eu")
        steps.append(subject.step(at + 6.0, [word, dark(float(at), WITNESS.id)]))
    assert told(steps) == [(HIGH_ERRORS.name, "a.test", FIRING)]


def test_at_the_very_start_nothing_answering_is_our_own_fault() -> None:
    """Before anything was ever seen, all that is silent together counts."""
    subject = engine()
    steps = run(subject, 10, 60, seeing=False)
    assert told(steps) == [(PROBER_BLIND, PROBER, FIRING)]
    assert subject.window("a.test", 300, 60.0).bad == 0


def test_after_blindness_everything_is_looked_at_before_anything_is_decided() -> None:
    """A firing alert does not end for what was seen first, nor fire again for the rest."""
    subject = Engine(
        [spec(each, name=each.deployment) for each in TARGETS],
        [rule("health == 'unhealthy'")],
        0.0,
    )
    run(subject, 0, 300, seeing=True)
    down = [subject.step(at + 6.0, round_of(at, a=dark(at))) for at in (310.0, 320.0)]
    run(subject, 330, 600, seeing=False)
    first = subject.step(602.0, [sample(601.0, GOOD, "b.test/eu")])
    assert subject.blindness is None
    rest = [subject.step(at + 6.0, round_of(at, a=dark(at))) for at in (604.0, 614.0, 624.0)]
    assert told(down)[-1][2] == FIRING
    assert told([first, *rest]) == [(PROBER_BLIND, PROBER, RESOLVED)]


@pytest.mark.parametrize(("witness", "is_blind"), [("dark", True), ("good", False)])
def test_a_witness_decides_for_a_single_network(witness: str, *, is_blind: bool) -> None:
    """A second opinion that was asked for is one; its samples are in nobody's window."""
    only = target("a.test/eu", 10, network="a.test", deployment="a.test")
    subject = Engine([spec(only, name="a.test")], [HIGH_ERRORS], 0.0, [WITNESS])
    for at in (10.0, 20.0, 30.0):
        word = dark(at, WITNESS.id) if witness == "dark" else sample(at, GOOD, WITNESS.id)
        subject.step(at + 6.0, [dark(at), word])
    assert (subject.blindness is not None) is is_blind
    window = subject.window("a.test", 60, 36.0)
    assert (window.bad, window.unknown) == ((0, 3) if is_blind else (3, 0))
    assert subject.strays == 0


def test_what_was_counted_before_we_knew_is_taken_back() -> None:
    """Probes that fail one after the other count, until the last of them shows what it was."""
    subject = engine()
    run(subject, 0, 300, seeing=True)
    subject.step(302.0, [dark(301.0)])
    assert subject.window("a.test", 60, 302.0).bad == 1
    subject.step(312.0, [dark(304.0, "b.test/eu"), dark(311.0)])
    steps = [subject.step(316.0, [dark(308.0, "c.test/eu")])]
    assert told(steps) == [(PROBER_BLIND, PROBER, FIRING)]
    window = subject.window("a.test", 60, 316.0)
    assert (window.bad, window.unknown, window.down_ms, window.censored) == (0, 2, 0, 0)
    last = subject.last_sample("a.test/eu")
    assert last is not None
    assert (last.outcome, last.reason) == (UNKNOWN, BLIND)


def test_while_we_may_be_blind_nobody_is_paged() -> None:
    """The page waits for the other networks, but not for longer than it may."""
    subject = engine()
    run(subject, 0, 300, seeing=True)
    held = [subject.step(302.0 + i, [dark(301.0 + i / 10)]) for i in range(int(HOLD_S) - 1)]
    assert told(held) == []
    paged = subject.step(301.0 + HOLD_S + 1, [])
    assert told([paged]) == [(HIGH_ERRORS.name, "a.test", FIRING)]


def test_what_must_fail_is_not_good_because_the_network_is_gone() -> None:
    """Its GOOD neither proves that we see nor counts while we do not."""
    hidden = target("a.test/eu", 10, network="a.test", deployment="a.test", inverted=True)
    other = target("b.test/eu", 10, network="b.test", deployment="a.test")
    subject = Engine([spec(hidden, other, name="a.test")], [], 0.0, [WITNESS])
    for at in (10.0, 20.0):
        words = [dark(at, "b.test/eu"), dark(at, WITNESS.id), sample(at, GOOD, "a.test/eu")]
        subject.step(at + 6.0, words)
    subject.step(80.0, [dark(70.0, "b.test/eu"), sample(71.0, GOOD, "a.test/eu")])
    assert subject.blindness is not None
    window = subject.target_window("a.test/eu", 300, 80.0)
    assert (window.good, window.unknown) == (0, 3)


def test_our_own_ailment_makes_blind_at_once() -> None:
    """What is dark during it says nothing; what answers counts; it ends when it is over."""
    subject = engine()
    run(subject, 0, 300, seeing=True)
    ill = "file descriptors: 990 of 1024 in use"
    began = subject.step(306.0, [], ailment=ill)
    assert subject.blindness is not None
    assert subject.blindness.why == ill
    during = subject.step(316.0, round_of(310.0, a=dark(310.0)), ailment=ill)
    ended = subject.step(326.0, round_of(320.0))
    assert told([began, during, ended]) == [
        (PROBER_BLIND, PROBER, FIRING), (PROBER_BLIND, PROBER, RESOLVED),
    ]  # fmt: skip
    window = subject.window("a.test", 30, 326.0)
    assert (window.good, window.bad, window.unknown) == (1, 0, 1)


def test_a_restart_goes_on_as_blind_and_ends_it_once() -> None:
    """Whoever was told that we are blind hears of the end from the next process."""
    first = engine()
    run(first, 0, 300, seeing=True)
    steps = run(first, 300, 400, seeing=False)
    alerts = [status for step in steps for status in step.alerts if status.rule == PROBER_BLIND]
    assert [status.state for status in alerts] == [FIRING]
    second = engine()
    second.restore(alerts=alerts, releases=[], windows=[], born=[], seen_at=396.0, now=500.0)
    assert second.blindness is not None
    assert told(run(second, 500, 600, seeing=False)) == []
    assert second.window("a.test", 300, 600.0).bad == 0
    after = run(second, 600, 700, seeing=True)
    assert told(after) == [(PROBER_BLIND, PROBER, RESOLVED)]
    [ended] = [status for step in after for status in step.alerts if status.rule == PROBER_BLIND]
    assert ended.state is INACTIVE


def test_a_firing_alert_stays_as_it_is_while_we_are_blind() -> None:
    """It neither ends nor begins anew for what we could not see."""
    subject = engine()
    run(subject, 0, 300, seeing=True)
    steps = [subject.step(at + 6.0, round_of(at, a=dark(at))) for at in (310.0, 320.0, 330.0)]
    assert (HIGH_ERRORS.name, "a.test", FIRING) in told(steps)
    blind = run(subject, 340, 1000, seeing=False)
    assert told(blind) == [(PROBER_BLIND, PROBER, FIRING)]
    states = {status.deployment: status for status in subject.alerts()}
    assert (states["a.test"].state, states["a.test"].no_data) == (FIRING, True)


Word = st.sampled_from(["good", "dark", "answer"])


@given(
    st.lists(st.tuples(Word, Word, Word), min_size=1, max_size=40),
    st.lists(st.floats(0.0, 9.0), min_size=3, max_size=3),
)
def test_it_ends_with_the_first_answer_and_counts_add_up(
    rounds: list[tuple[str, str, str]], offsets: list[float]
) -> None:
    """Whatever comes: after an answer we see, no sample is lost, and a clear round is good."""
    subject = engine()
    count = 0
    for number, words in enumerate(rounds, 1):
        at = 10.0 * number
        said = []
        for name, word, offset in zip(NETWORKS, words, offsets, strict=True):
            start, who = at + offset, f"{name}/eu"
            bad = sample(start, BAD, who, reason="status")
            said.append(
                {"good": sample(start, GOOD, who), "dark": dark(start, who), "answer": bad}[word]
            )
        subject.step(at + 10.0, said)
        count += 1
        if max(said, key=lambda each: each.at).reason not in DARK:
            assert subject.blindness is None
    now = 10.0 * len(rounds) + 10.0
    for name in NETWORKS:
        window = subject.window(name, 7200, now)
        assert window.good + window.bad + window.unknown == count
        assert window.good == sum(words[NETWORKS.index(name)] == "good" for words in rounds)


def test_taking_back_survives_a_restart() -> None:
    """The buckets that are stored are those without what was taken back."""
    subject = engine()
    run(subject, 0, 300, seeing=True)
    run(subject, 300, 400, seeing=False)
    again = restarted(subject, Stored(), 406.0, 406.0)
    window = again.window("a.test", 600, 406.0)
    assert (window.bad, window.unknown) == (0, 10)
