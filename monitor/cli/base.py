"""What the commands share: exit codes, output, and how they reach the daemon."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import httpx2

DEFAULT_URL = "http://127.0.0.1:9911"
TIMEOUT_S = 10.0


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    NO = 1
    """The answer is no, or it failed."""
    USAGE = 2
    """Usage or configuration."""
    UNKNOWN = 3
    """Cannot tell: no data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One subcommand: how it is declared and what it does."""

    name: str
    help: str
    example: str
    declare: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


class DaemonError(Exception):
    """The daemon could not be asked; the text says why."""


def declare_output(parser: argparse.ArgumentParser) -> None:
    """Add `--output`."""
    parser.add_argument("--output", choices=("text", "json"), default="text", help="answer's form")


def declare_daemon(parser: argparse.ArgumentParser) -> None:
    """Add `--url`."""
    parser.add_argument("--url", default=DEFAULT_URL, help=f"the daemon (default {DEFAULT_URL})")


def declare_config(parser: argparse.ArgumentParser) -> None:
    """Add `--config`."""
    parser.add_argument("--config", default="monitor.yml", help="default: monitor.yml")


def ask(url: str, path: str, params: Mapping[str, str] | None = None) -> tuple[int, Any]:
    """GET a JSON document of the daemon; return (status, document or text).

    Raises:
        DaemonError: there was no answer.
    """
    try:
        with httpx2.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False) as client:
            answer = client.get(path, params=params)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        msg = f"no answer from {url}: {error} (is `monitor run` up? see --url)"
        raise DaemonError(msg) from error
    try:
        return answer.status_code, answer.json()
    except ValueError:
        return answer.status_code, answer.text.strip()


def ask_document(
    url: str, path: str, params: Mapping[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    """GET a JSON object of the daemon; return (status, object).

    Raises:
        DaemonError: there was no answer, it failed, or it came from something else.
    """
    status, answer = ask(url, path, params)
    if not isinstance(answer, dict):
        msg = f"{url} does not answer like slo-monitor (status {status}; see --url)"
        raise DaemonError(msg)
    if status >= httpx2.codes.INTERNAL_SERVER_ERROR:
        msg = f"{url}{path} failed with status {status}: {answer.get('error', answer)}"
        raise DaemonError(msg)
    return status, answer


def show_json(document: object) -> None:
    """Print a document for machines."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def complain(text: str) -> None:
    """Print a diagnostic."""
    print(text, file=sys.stderr)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return left-aligned columns under their heads."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = ("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
             for row in (head, *rows))  # fmt: skip
    return "\n".join(lines)
