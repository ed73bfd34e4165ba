"""What the commands share: exit codes, output, and how they reach the daemon."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

import httpx2

from monitor.config.load import read_secret

HTTP_OK, HTTP_NOT_FOUND, HTTP_CONFLICT = 200, 404, 409
TOKEN = "MONITOR_TOKEN"  # noqa: S105 - the name of a variable
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


class RefusedError(Exception):
    """The daemon, or we ourselves, refuse what was asked for; the text says what to mend."""

    def __init__(self, text: str, code: Exit = Exit.USAGE) -> None:
        """Say why, and how the command ends."""
        super().__init__(text)
        self.code = code


def declare_output(parser: argparse.ArgumentParser) -> None:
    """Add `--output`."""
    parser.add_argument("--output", choices=("text", "json"), default="text", help="answer's form")


def declare_daemon(parser: argparse.ArgumentParser) -> None:
    """Add `--url`."""
    parser.add_argument("--url", default=DEFAULT_URL, help=f"the daemon (default {DEFAULT_URL})")


def declare_token(parser: argparse.ArgumentParser) -> None:
    """Add `--token-file`."""
    parser.add_argument(
        "--token-file",
        metavar="PATH",
        help=f"holds the daemon's server.token (default: the environment's {TOKEN})",
    )


def declare_config(parser: argparse.ArgumentParser) -> None:
    """Add `--config`."""
    parser.add_argument("--config", default="monitor.yml", help="default: monitor.yml")


def ask(url: str, path: str, params: Mapping[str, str] | None = None) -> tuple[int, Any]:
    """GET a JSON document of the daemon; return (status, document or text).

    Raises:
        DaemonError: there was no answer.
    """
    return _exchange(url, "GET", path, params=params)


def _exchange(url: str, method: str, path: str, **request: Any) -> tuple[int, Any]:
    try:
        with httpx2.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False) as client:
            answer = client.request(method, path, **request)
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
    return status, _document(url, path, status, answer)


def _document(url: str, path: str, status: int, answer: object) -> dict[str, Any]:
    if not isinstance(answer, dict):
        msg = f"{url} does not answer like slo-monitor (status {status}; see --url)"
        raise DaemonError(msg)
    if status >= httpx2.codes.INTERNAL_SERVER_ERROR:
        msg = f"{url}{path} failed with status {status}: {answer.get('error', answer)}"
        raise DaemonError(msg)
    return answer


def fetch(url: str, path: str, key: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
    """GET a JSON object of the daemon that must be there and have `key`.

    Raises:
        DaemonError: there is none.
    """
    status, answer = ask_document(url, path, params)
    if status != HTTP_OK or key not in answer:
        msg = f"{url}{path} answered {status}: {answer}"
        raise DaemonError(msg)
    return answer


def tell(arguments: argparse.Namespace, path: str, key: str, body: object = None) -> dict[str, Any]:
    """POST to the daemon at `--url` with the token; return its answer, which must have `key`.

    Raises:
        DaemonError: there was no answer, it failed, or it came from something else.
        RefusedError: the daemon refuses, or there is no token.
    """
    token, url = _token(arguments), arguments.url
    headers = {"Authorization": f"Bearer {token}"}
    request = {"headers": headers} if body is None else {"headers": headers, "json": body}
    status, answer = _exchange(url, "POST", path, **request)
    document = _document(url, path, status, answer)
    if status >= httpx2.codes.BAD_REQUEST and "error" in document:
        code = Exit.NO if status == HTTP_CONFLICT else Exit.USAGE
        raise RefusedError(str(document["error"]), code)
    if key not in document:
        msg = f"{url}{path} answered {status}: {document}"
        raise DaemonError(msg)
    return document


def _token(arguments: argparse.Namespace) -> str:
    try:
        from_file = arguments.token_file is not None
        token = (
            read_secret("file", arguments.token_file) if from_file else read_secret("env", TOKEN)
        )
    except ValueError as error:
        msg = f"this needs the daemon's token: {error} (set {TOKEN}, or give --token-file)"
        raise RefusedError(msg) from error
    if not (token.isascii() and token.isprintable()):
        msg = "the token has characters that no header can carry"
        raise RefusedError(msg)
    return token


def login_name(option: str) -> str:
    """Return who runs this, for the records.

    Raises:
        RefusedError: the system does not know; the text names `option`.
    """
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError) as error:
        msg = f"the system does not know who you are: give {option}"
        raise RefusedError(msg) from error


def show_json(document: object) -> None:
    """Print a document for machines."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def complain(text: str) -> None:
    """Print a diagnostic."""
    print(text, file=sys.stderr)


def visible(text: object) -> str:
    """Return a text that moves no cursor: what targets and people wrote may hold anything."""
    return "".join(each if each.isprintable() else " " for each in str(text))


def moment(at: float | None) -> str:
    """Return a time in UTC; `-` when there is none."""
    return "-" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return left-aligned columns under their heads."""
    rows = [[visible(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = ("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
             for row in (head, *rows))  # fmt: skip
    return "\n".join(lines)
