"""The names of signals."""

from __future__ import annotations

from fractions import Fraction

import pytest

from monitor.slo.signal import WINDOWS, Unit, parse_signal, signal_names

PLAIN = """uptime_percentage error_budget_remaining deployment_status health deployment environment
region revision available_regions certificate_expiry_days p50_latency p95_latency p99_latency"""
NAMED_WINDOWS = "1m 5m 10m 15m 30m 1h 2h 6h 12h 1d 3d 7d 28d 30d 90d"
WINDOWED = "error_rate success_rate p75_latency uptime_percentage burn_rate samples coverage"


@pytest.mark.parametrize("name", PLAIN.split())
def test_every_plain_name_of_the_contract_exists(name: str) -> None:
    """The names in the user's table are signals, and are listed."""
    signal = parse_signal(name)
    assert signal is not None
    assert signal.name == name
    assert name in signal_names()


@pytest.mark.parametrize("kind", WINDOWED.split())
@pytest.mark.parametrize("window", NAMED_WINDOWS.split())
def test_every_windowed_name_exists_in_every_window(kind: str, window: str) -> None:
    """Each kind with a window accepts all fifteen."""
    signal = parse_signal(f"{kind}_{window}")
    assert signal is not None
    assert signal.window_s == WINDOWS[window]
    assert signal.type == "number"


@pytest.mark.parametrize(
    ("name", "kind", "window_s", "quantile", "unit", "kind_of_value"),
    [
        ("p95_latency", "latency", 300, Fraction(95, 100), Unit.MS, "number"),
        ("p1_latency_1h", "latency", 3600, Fraction(1, 100), Unit.MS, "number"),
        ("p999_latency_6h", "latency", 21600, Fraction(999, 1000), Unit.MS, "number"),
        ("uptime_percentage", "uptime_percentage", None, None, Unit.PERCENT, "number"),
        ("uptime_percentage_1d", "uptime_percentage", 86400, None, Unit.PERCENT, "number"),
        ("burn_rate_5m", "burn_rate", 300, None, Unit.RATIO, "number"),
        ("samples_1m", "samples", 60, None, Unit.COUNT, "number"),
        ("certificate_expiry_days", "certificate_expiry_days", None, None, Unit.DAYS, "number"),
        ("health", "health", None, None, Unit.TEXT, "string"),
    ],
)
def test_a_name_says_what_it_measures(  # noqa: PLR0917 - one column of the table each
    name: str,
    kind: str,
    window_s: int | None,
    quantile: Fraction | None,
    unit: Unit,
    kind_of_value: str,
) -> None:
    """Window, quantile, unit and type follow from the name."""
    signal = parse_signal(name)
    assert signal is not None
    assert (signal.kind, signal.window_s, signal.quantile) == (kind, window_s, quantile)
    assert (signal.unit, signal.type) == (unit, kind_of_value)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "error_rate",
        "error_rate_7m",
        "error_rate_",
        "_5m",
        "p0_latency",
        "p100_latency",
        "p05_latency",
        "p95_latency_4m",
        "p95_latency_",
        "p٩5_latency",
        "health_5m",
        "burn_rate",
        "error_budget_remaining_1h",
        "ERROR_RATE_5m",
    ],
)
def test_other_names_are_no_signals(name: str) -> None:
    """A name that is nearly right is not guessed at."""
    assert parse_signal(name) is None


def test_all_listed_names_parse_to_themselves() -> None:
    """The list for people holds real names, each once."""
    names = signal_names()
    assert len(set(names)) == len(names)
    assert all((signal := parse_signal(name)) and signal.name == name for name in names)
