"""`monitor check`: every error of the configuration in one run, and what it amounts to."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

from monitor.cli.base import (
    Command,
    Exit,
    complain,
    declare_config,
    declare_output,
    show_json,
    table,
)
from monitor.config.errors import ConfigErrors
from monitor.config.load import load_plan_from_environment
from monitor.config.plan import DeploymentPlan, Plan
from monitor.config.reports import reports
from monitor.fields import format_duration
from monitor.slo.lint import Report, render


def _declare(parser: argparse.ArgumentParser) -> None:
    declare_config(parser)
    declare_output(parser)


def _run(arguments: argparse.Namespace) -> int:
    try:
        plan = load_plan_from_environment(Path(arguments.config))
    except ConfigErrors as errors:
        if arguments.output == "json":
            show_json({"ok": False, "errors": [asdict(error) for error in errors.errors]})
        raise
    for warning in plan.warnings:
        complain(f"warning: {warning}")
    found = list(reports(plan.deployments, plan.evaluation_interval_s))
    if arguments.output == "json":
        show_json(
            {
                "ok": True,
                "warnings": plan.warnings,
                "deployments": _rows(plan),
                "objectives": [_facts(each, report) for each, report in found],
            }
        )
        return Exit.OK
    head = ("deployment", "probes", "every", "objective", "rollback")
    print(table(head, [tuple(row[key] for key in head) for row in _rows(plan)]))
    print(f"\n{len(plan.rules)} rules, channels: {', '.join(plan.channels) or 'none'}")
    for deployment in plan.deployments:
        mine = [report for each, report in found if each is deployment]
        if mine:
            print("\n".join(("", deployment.deployment.name, *render(mine))))
    return Exit.OK


def _rows(plan: Plan) -> list[dict[str, str]]:
    return [
        {
            "deployment": each.deployment.name,
            "probes": str(len(each.probes)),
            "every": format_duration(min(bound.target.interval_s for bound in each.probes)),
            "objective": f"{float(each.objective.target * 100):g}%" if each.objective else "-",
            "rollback": each.rollback.hook.kind if each.rollback else "-",
        }
        for each in plan.deployments
    ]


def _facts(deployment: DeploymentPlan, report: Report) -> dict[str, Any]:
    """Return what the lines say, in seconds; null is never."""
    objective = report.objective
    return {
        "deployment": deployment.deployment.name,
        "name": objective.name,
        "target": float(objective.target),
        "period_s": objective.period_s,
        "allowed_s": float(report.allowed_s),
        "samples": report.samples,
        "allowed_samples": float(report.allowed_samples),
        "tiers": [
            {
                "long_s": facts.tier.long_s,
                "short_s": facts.tier.short_s,
                "factor": float(facts.tier.factor),
                "severity": facts.tier.severity,
                "bad_samples": facts.long_bad,
                "total_outage_s": _seconds(facts.total_outage_s),
                "partial_outage_s": _seconds(facts.partial_outage_s),
                "clears_s": _seconds(facts.clears_s),
            }
            for facts in report.tiers
        ],
        "notes": report.notes,
        "warnings": report.warnings,
    }


def _seconds(time_s: Fraction | None) -> float | None:
    return None if time_s is None else float(time_s)


COMMAND = Command(
    name="check",
    help="check the configuration; every error in one run, exit 2 if there is one",
    example="monitor check --config monitor.yml",
    declare=_declare,
    run=_run,
)
