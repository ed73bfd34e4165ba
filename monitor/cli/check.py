"""`monitor check`: every error of the configuration in one run, and what it amounts to."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

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
from monitor.config.plan import Plan
from monitor.config.reports import reports
from monitor.fields import format_duration
from monitor.slo.lint import render


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
    if arguments.output == "json":
        show_json({"ok": True, "warnings": plan.warnings, "deployments": _rows(plan)})
        return Exit.OK
    head = ("deployment", "probes", "every", "objective", "rollback")
    print(table(head, [tuple(row[key] for key in head) for row in _rows(plan)]))
    print(f"\n{len(plan.rules)} rules, channels: {', '.join(plan.channels) or 'none'}")
    found = list(reports(plan.deployments, plan.evaluation_interval_s))
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


COMMAND = Command(
    name="check",
    help="check the configuration; every error in one run, exit 2 if there is one",
    example="monitor check --config monitor.yml",
    declare=_declare,
    run=_run,
)
