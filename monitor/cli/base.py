"""What the commands share: exit codes, output, and how they reach the daemon."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any

import httpx2

DEFAULT_URL = "http://127.0.0.1:9911"
TIMEOUT_S = 10.0
TOKEN_VARIABLE = "MONITOR_TOKEN"  # noqa: S105 - a name


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


def get_document(url: str, path: str, key: str) -> dict[str, Any]:
    """GET a JSON object that has `key`.

    Raises:
        DaemonError: there was no such answer.
    """
    status, answer = ask_document(url, path)
    if status != httpx2.codes.OK or key not in answer:
        msg = f"{url}{path} answered {status}: {answer.get('error', answer)}"
        raise DaemonError(msg)
    return answer


def declare_token(parser: argparse.ArgumentParser) -> None:
    """Add `--token-file`; without it the token is in the environment."""
    parser.add_argument(
        "--token-file", help=f"file with the server's token (default: ${TOKEN_VARIABLE})"
    )


def tell(arguments: argparse.Namespace, path: str, body: Mapping[str, Any]) -> int:
    """POST a JSON object with the token, show what came of it, and return the exit code.

    Raises:
        DaemonError: there was no answer.
    """
    token = _token(arguments.token_file)
    if not token:
        complain(f"no token: set ${TOKEN_VARIABLE} or give --token-file")
        return Exit.USAGE
    try:
        with httpx2.Client(base_url=arguments.url, timeout=TIMEOUT_S, trust_env=False) as client:
            answer = client.post(path, json=body, headers={"authorization": f"Bearer {token}"})
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        msg = f"no answer from {arguments.url}: {error} (is `monitor run` up? see --url)"
        raise DaemonError(msg) from error
    try:
        document = answer.json()
    except ValueError:
        document = {"error": answer.text.strip()[:200]}
    if answer.status_code == httpx2.codes.ACCEPTED:
        if arguments.output == "json":
            show_json(document)
        return Exit.OK
    complain(str(document.get("error", document)))
    wrong = {httpx2.codes.BAD_REQUEST, httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN}
    return Exit.USAGE if answer.status_code in wrong else Exit.NO


def _token(path: str | None) -> str:
    if path is None:
        return os.environ.get(TOKEN_VARIABLE, "")
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror}"
        raise DaemonError(msg) from error


def moment(at: float | None) -> str:
    """Return UTC seconds as ISO 8601, `-` for none."""
    if at is None:
        return "-"
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


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
