"""`monitor probe`: one probe of a URL, its phases as a waterfall."""

from __future__ import annotations

import argparse
import asyncio
import time
from urllib.parse import urlsplit

import uvloop
from pydantic import ValidationError

from monitor.cli.base import Command, Exit, complain, declare_output, show_json
from monitor.fields import parse_duration
from monitor.model import Deployment, Outcome, Sample, Target
from monitor.probes.base import ProbeIO
from monitor.probes.http.config import HttpProbeConfig
from monitor.probes.resolver import Resolver

EVERYWHERE = ("0.0.0.0/0", "::/0")
"""Whoever types an address means it: the policy guards what configuration and redirects name."""
BAR = 40


def _declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", metavar="URL", help="http or https address")
    parser.add_argument("--timeout", type=_timeout, default="10s", help="default: 10s")
    parser.add_argument("--insecure", action="store_true", help="accept any certificate")
    declare_output(parser)


def _timeout(text: str) -> float:
    try:
        timeout_s = parse_duration(text)
    except ValueError as error:
        msg = f"{error} (got {text!r})"
        raise argparse.ArgumentTypeError(msg) from error
    if timeout_s <= 0:
        msg = f"expected more than no time at all (got {text!r})"
        raise argparse.ArgumentTypeError(msg)
    return timeout_s


def _run(arguments: argparse.Namespace) -> int:
    if urlsplit(arguments.address).scheme not in {"http", "https"}:
        complain(f"expected an http or https address (got {arguments.address!r})")
        return Exit.USAGE
    try:
        timeout_s = arguments.timeout
        config = HttpProbeConfig.model_validate({"insecure": arguments.insecure})
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            sample = runner.run(_probe(config, arguments.address, timeout_s))
    except (ValueError, ValidationError) as error:
        complain(f"monitor probe: {error}")
        return Exit.USAGE
    if arguments.output == "json":
        show_json(_document(sample))
    else:
        _print(sample, arguments.address)
    return {Outcome.GOOD: Exit.OK, Outcome.BAD: Exit.NO, Outcome.UNKNOWN: Exit.UNKNOWN}[
        sample.outcome
    ]


async def _probe(config: HttpProbeConfig, url: str, timeout_s: float) -> Sample:
    resolver = Resolver()
    io = ProbeIO(
        connect=asyncio.get_running_loop().create_connection,
        resolve=resolver,
        allowed_networks=EVERYWHERE,
        monotonic=time.monotonic,
    )
    target = Target(
        id="once", deployment="once", environment="", probe="once", region="global",
        interval_s=timeout_s, timeout_s=timeout_s,
    )  # fmt: skip
    deployment = Deployment(name="once", service="once", environment="", url=url)
    try:
        return await config.build(target, deployment, url, io)(time.time(), timeout_s)
    finally:
        resolver.close()


def _document(sample: Sample) -> dict[str, object]:
    return {
        "outcome": sample.outcome,
        "reason": sample.reason,
        "detail": sample.detail,
        "status": sample.status,
        "latency_ms": None if sample.latency_s is None else sample.latency_s * 1000,
        "censored": sample.censored,
        "phases_ms": {name: seconds * 1000 for name, seconds in sample.phases},
        "hops_ms": [{name: seconds * 1000 for name, seconds in hop} for hop in sample.hops],
        "certificate_expires_at": sample.certificate_expires_at,
    }


def _print(sample: Sample, url: str) -> None:
    print(f"{sample.outcome.upper()} {url}" + (f"  HTTP {sample.status}" if sample.status else ""))
    if sample.detail:
        print(f"  {sample.reason}: {sample.detail}")
    total = sum(seconds for _, seconds in sample.phases) or 1.0
    before = 0.0
    for number, hop in enumerate(sample.hops or (sample.phases,), 1):
        if sample.hops:
            print(f"  hop {number}")
        for name, seconds in hop:
            start, width = round(before / total * BAR), max(1, round(seconds / total * BAR))
            print(f"  {name:<9}{seconds * 1000:9.2f} ms  {' ' * start}{'#' * width}")
            before += seconds
    if sample.latency_s is not None:
        more = " (cut off: at least this long)" if sample.censored else ""
        print(f"  {'total':<9}{sample.latency_s * 1000:9.2f} ms{more}")


COMMAND = Command(
    name="probe",
    help="probe a URL once and show where the time went",
    example="monitor probe https://example.com/",
    declare=_declare,
    run=_run,
)
