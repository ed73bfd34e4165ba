"""How a failure changes the sample of a run, and what a text must look like to be shown."""

from __future__ import annotations

import logging
from dataclasses import replace

from monitor.model import Outcome, Sample
from monitor.probes.failure import ProbeError
from monitor.probes.reason import Reason

log = logging.getLogger(__name__)

DETAIL_MAX = 200
_TAIL = "..."


def printable(text: str) -> str:
    """Return `text` in one line: whatever a terminal or a log may take for a command is escaped."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


def to_detail(text: str) -> str:
    """Return `text` as a sample's detail: printable and short."""
    shown = printable(text)
    return shown if len(shown) <= DETAIL_MAX else shown[: DETAIL_MAX - len(_TAIL)] + _TAIL


def failed(sample: Sample, failure: ProbeError, deadline_s: float) -> Sample:
    """Return `sample`, which has what was measured, with the verdict that `failure` brings.

    Its latency stays when a whole answer came, is censored when one was still waited for at
    `deadline_s`, and goes otherwise.
    """
    reason = failure.reason
    latency_s = sample.latency_s if reason.is_answer else None
    if reason.is_timeout:
        latency_s = max(sample.latency_s or 0.0, deadline_s)
    return replace(
        sample,
        outcome=reason.outcome,
        reason=reason.value,
        detail=to_detail(failure.detail),
        latency_s=latency_s,
        censored=reason.is_timeout,
    )


def inverted(sample: Sample) -> Sample:
    """Return the sample of a target that must not answer well; what we do not know stays so."""
    if sample.outcome is Outcome.GOOD:
        detail = f"answered as it must not (HTTP {sample.status})"
        return replace(sample, outcome=Outcome.BAD, reason=Reason.NOT_REFUSED.value, detail=detail)
    if sample.outcome is Outcome.BAD:
        latency_s = None if sample.censored else sample.latency_s
        return replace(
            sample,
            outcome=Outcome.GOOD,
            reason="",
            detail="",
            latency_s=latency_s,
            censored=False,
        )
    return sample


def raised(target: str, at: float, error: Exception) -> Sample:
    """Return the sample of a probe that raised, which is a mistake of ours; logs it."""
    log.error("probe raised", exc_info=error, extra={"target": target})
    return Sample(
        target=target,
        at=at,
        outcome=Outcome.UNKNOWN,
        reason=Reason.PROBER_ERROR.value,
        detail=f"{type(error).__name__} in the probe",
    )
