"""The JSON API of objectives: budgets, the gate for pipelines, windows, and corrections."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from fractions import Fraction
from typing import Any

from aiohttp import web

from monitor.model import Correction
from monitor.slo.outlook import gate, picture, services
from monitor.slo.record import EXPORTED_WINDOWS
from monitor.slo.signal import WINDOWS
from monitor.slo.tally import WindowStats
from monitor.web.asking import moment, only_known, queued
from monitor.web.guard import read_object
from monitor.web.overview import read_burn_rates
from monitor.web.query import match
from monitor.web.respond import RefusalError, json_response, plain
from monitor.web.view import View

REASON_LENGTH = 200
CORRECTION_SCHEMA = {
    "type": "object",
    "required": ["deployment", "from", "to", "reason"],
    "additionalProperties": False,
    "properties": {
        "deployment": {"type": "string"},
        "slo": {"type": "string", "description": "by default every objective"},
        "from": {"type": "string", "format": "date-time"},
        "to": {"type": "string", "format": "date-time"},
        "reason": {"type": "string", "minLength": 1, "maxLength": REASON_LENGTH},
    },
}
_QUANTILES = (("p50", 50), ("p90", 90), ("p95", 95), ("p99", 99))
_SHOWN_WINDOWS_S = tuple(WINDOWS[name] for name in EXPORTED_WINDOWS)


class BudgetApi:
    """The handlers; reads have no side effect."""

    def __init__(self, view: View) -> None:
        """Answer from `view`."""
        self._view = view

    async def slos(self, _request: web.Request) -> web.Response:
        """Objectives with their budgets, burn rates, forecasts and SLA clauses."""
        engine, now, slos = self._view.engine, self._view.now(), []
        for name, spec in tuple(engine.specs.items()):
            if name in engine.specs:
                records = engine.records(name, now)
                pictures = [picture(engine, each, _SHOWN_WINDOWS_S, now) for each in records]
                first = pictures[0].budgets if spec.objective and pictures else ()
                slo: dict[str, Any] = {
                    "deployment": name,
                    "environment": spec.deployment.environment,
                    "objective": spec.objective,
                    "budget": first[0] if first else None,
                    "clauses": engine.verdicts(name, now),
                    "slos": pictures,
                }
                if spec.objective is not None:
                    slo["burn_rates"] = dict(read_burn_rates(engine, name, now))
                slos.append(slo)
            await asyncio.sleep(0)
        return json_response({"at": now, "slos": slos, "services": list(services(engine, now))})

    async def gate(self, request: web.Request) -> web.Response:
        """200 when the deployment may be changed now, 409 with the reasons when not."""
        asked = request.query
        specs = match(self._view.engine.specs, asked.get("deployment"), asked.get("environment"))
        now = self._view.now()
        gates = [gate(self._view.engine, spec.deployment.name, now) for spec in specs]
        go = all(each.go for each in gates)
        body = {"go": go, "at": now, "deployments": gates}
        return json_response(body, status=200 if go else 409)

    async def windows(self, request: web.Request) -> web.Response:
        """What was counted in a window, by target, deployment, environment or service."""
        asked = request.query
        window, by = asked.get("window", "1h"), asked.get("by", "deployment")
        if window not in WINDOWS:
            raise RefusalError(400, f"window is one of {', '.join(WINDOWS)}")
        if by not in _GROUPS:
            raise RefusalError(400, f"by is one of {', '.join(_GROUPS)}")
        engine, now = self._view.engine, self._view.now()
        groups: dict[str, list[str]] = {}
        for spec in engine.specs.values():
            for target in spec.targets:
                if target.sli:
                    named = {
                        "target": target.id,
                        "deployment": target.deployment,
                        "environment": target.environment,
                        "service": spec.deployment.service,
                    }
                    groups.setdefault(named[by], []).append(target.id)
        rows = []
        for name, targets in groups.items():
            stats = engine.merged_window(targets, WINDOWS[window], now)
            rows.append({by: name, "targets": len(targets)} | _counted(stats))
            await asyncio.sleep(0)
        return json_response({"at": now, "window": window, "windows": rows})

    async def corrections(self, _request: web.Request) -> web.Response:
        """What was said not to count as it was measured, latest first."""
        return json_response({"corrections": self._view.corrections()})

    async def correct(self, request: web.Request) -> web.Response:
        """Leave a stretch of time out of budgets, as if it had been planned maintenance."""
        correction = self._correction(await read_object(request))
        await queued(self._view.accept_correction(correction))
        return json_response({"accepted": correction}, status=202)

    async def undo(self, request: web.Request) -> web.Response:
        """Count again what a correction left out."""
        wanted = request.match_info["id"]
        found = next((each for each in self._view.corrections() if each.id == wanted), None)
        if found is None or found.is_undone:
            raise RefusalError(404, "no such correction in force; see /api/v1/corrections")
        await queued(self._view.accept_correction(replace(found, is_undone=True)))
        return json_response({"undone": found.id}, status=202)

    def _correction(self, body: dict[str, Any]) -> Correction:
        only_known(body, CORRECTION_SCHEMA)
        engine, now = self._view.engine, self._view.now()
        deployment, slo, reason = body.get("deployment"), body.get("slo", ""), body.get("reason")
        if not isinstance(deployment, str) or deployment not in engine.specs:
            raise RefusalError(404, f"no such deployment; there are: {', '.join(engine.specs)}")
        names = [each.name for each in engine.specs[deployment].objectives]
        if slo and slo not in names:
            raise RefusalError(404, f"no such objective; there are: {', '.join(names)}")
        if not isinstance(reason, str) or not 0 < len(reason) <= REASON_LENGTH:
            raise RefusalError(400, f"reason is a text of 1 to {REASON_LENGTH} characters")
        start, end = (moment(body.get(key), key) for key in ("from", "to"))
        if not now - 90 * 86400 <= start < end <= now:
            raise RefusalError(400, "from and to are in this order, in the last 90 days")
        text = f"{deployment}\0{slo}\0{start}\0{end}\0{now}"
        return Correction(
            id=hashlib.sha256(text.encode()).hexdigest()[:10],
            deployment=deployment,
            slo=slo,
            start=start,
            end=end,
            reason=reason,
            at=now,
        )


_GROUPS = ("target", "deployment", "environment", "service")


def _counted(stats: WindowStats) -> dict[str, Any]:
    """Return a window in base units: seconds and shares; percentiles of latencies in seconds."""
    latencies = {name: stats.quantile(Fraction(percent, 100)) for name, percent in _QUANTILES}
    return {
        "good": stats.good,
        "bad": stats.bad,
        "unknown": stats.unknown,
        "error_ratio": plain(stats.error_ratio),
        "uptime_ratio": plain(stats.uptime),
        "coverage_ratio": stats.coverage,
        "expected_s": stats.expected_ms / 1000,
        "latency_s": latencies,
        "latency_samples": stats.latencies.count,
        "censored": stats.censored,
    }
