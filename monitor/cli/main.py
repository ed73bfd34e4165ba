"""The `monitor` command: one subcommand a file, dispatched here."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from monitor.cli import (
    ack,
    budget,
    check,
    healthcheck,
    incidents,
    notify,
    probe,
    query,
    run,
    schema,
    silence,
    status,
    test,
    version,
)
from monitor.cli.base import Command, DaemonError, Exit, RefusedError, complain
from monitor.cli.sentry import SentryError
from monitor.config.errors import ConfigErrors
from monitor.store.base import StoreError


def commands() -> tuple[Command, ...]:
    """Return all subcommands, in the order of `--help`."""
    modules = (
        run,
        check,
        probe,
        query,
        status,
        budget,
        incidents,
        ack,
        silence,
        test,
        notify,
        schema,
        healthcheck,
        version,
    )
    return tuple(module.COMMAND for module in modules)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="monitor",
        description="Probes deployments, keeps their SLOs, pages and rolls back.",
        epilog="exit codes: 0 ok, 1 no or failed, 2 usage or configuration, 3 cannot tell",
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in commands():
        sub = subparsers.add_parser(
            command.name,
            help=command.help,
            description=command.help,
            epilog=f"example: {command.example}",
        )
        command.declare(sub)
        sub.set_defaults(run=command.run)
    arguments = parser.parse_args(argv)
    try:
        code = int(arguments.run(arguments))
        sys.stdout.flush()
    except ConfigErrors as errors:
        complain(str(errors))
        return Exit.USAGE
    except (StoreError, SentryError, RefusedError) as error:
        complain(f"monitor: {error}")
        return error.code if isinstance(error, RefusedError) else Exit.USAGE
    except DaemonError as error:
        complain(f"monitor: {error}")
        return Exit.UNKNOWN
    except BrokenPipeError:
        # Whoever read us (`| head`) has enough; the interpreter's own last flush must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.NO
    except KeyboardInterrupt:
        return 130
    return code
