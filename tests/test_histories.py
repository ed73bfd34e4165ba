"""The promises of alerting, over random histories of alerts, people and faults.

`.venv/bin/python -m bench.histories --seed 123` plays one again, with what was said.
"""

from __future__ import annotations

import logging

import pytest

from tests.support.histories import play

CHUNKS, EACH = 20, 100


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_nothing_is_lost_repeated_or_left_open(
    chunk: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever fails at whichever moment: who should be called is, once, and hears of the end."""
    caplog.set_level(logging.CRITICAL + 1)
    seeds = range(chunk * EACH, (chunk + 1) * EACH)
    broken = {seed: problems for seed in seeds if (problems := play(seed))}
    assert not broken
