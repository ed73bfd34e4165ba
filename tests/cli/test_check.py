"""`monitor check`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Run

WRONG = {
    "alerts": [
        {"name": "a", "condition": "eror_rate_5m > 5", "severity": "loud", "channels": ["slack"]}
    ]
}


def test_a_sound_configuration(run: Run, write: Callable[..., Path]) -> None:
    """Exit 0 with what it amounts to: deployments, rules, channels."""
    path = write()
    result = run("check", "--config", path)
    assert (result.code, result.err) == (0, "")
    assert "shop-production" in result.out
    assert "1 rules, channels: slack" in result.out
    document = run("check", "--config", path, "--output", "json").document
    assert document["ok"] is True
    assert [each["deployment"] for each in document["deployments"]] == ["shop-production"]


def test_a_warning_is_no_error(run: Run, write: Callable[..., Path]) -> None:
    """It is said on stderr, and in the document, and the exit code stays 0."""
    path = write(rules={"alerts": []}, burn_alerts={"enabled": False})
    result = run("check", "--config", path)
    assert result.code == 0
    assert "warning: there are no alert rules" in result.err
    document = run("check", "--config", path, "--output", "json").document
    assert len(document["warnings"]) == 1


def test_when_each_alert_speaks_is_told(run: Run, write: Callable[..., Path]) -> None:
    """For people as a table, for machines in seconds."""
    path = write()
    text = run("check", "--config", path).out
    assert "availability 99.9% over 30d: 43m12s of downtime, 172.8 of 172800 samples" in text
    assert "page   1h/5m  > 14.4x: total outage after 2m20s, 10 % failing after 22m35s" in text
    document = run("check", "--config", path, "--output", "json").document
    [objective] = document["objectives"]
    assert (objective["deployment"], objective["name"]) == ("shop-production", "availability")
    assert (objective["allowed_s"], objective["samples"]) == (2592.0, 172_800)
    fast = objective["tiers"][0]
    assert (fast["long_s"], fast["short_s"], fast["factor"]) == (3600, 300, 14.4)
    assert (fast["bad_samples"], fast["total_outage_s"], fast["clears_s"]) == (9, 140.0, 305.0)


def test_every_error_in_one_run(run: Run, write: Callable[..., Path]) -> None:
    """Exit 2; each on a line of stderr as file:line:col, and the same as JSON."""
    path = write(rules=WRONG, evaluation_interval="often")
    result = run("check", "--config", path)
    assert (result.code, result.out) == (2, "")
    lines = result.err.splitlines()
    assert all(line.startswith(f"{path}:") for line in lines)
    for word in ("eror_rate_5m", "loud", "often"):
        assert sum(word in line for line in lines) == 1, result.err
    again = run("check", "--config", path, "--output", "json")
    assert (again.code, again.err) == (2, result.err)
    assert again.document["ok"] is False
    assert len(again.document["errors"]) == len(lines)
    assert all(each["line"] >= 1 and each["message"] for each in again.document["errors"])


def test_a_file_that_is_not_there(run: Run, tmp_path: Path) -> None:
    """Exit 2 with its name and the system's reason."""
    result = run("check", "--config", tmp_path / "none.yml")
    assert (result.code, result.out) == (2, "")
    assert "none.yml" in result.err
    assert "No such file" in result.err
