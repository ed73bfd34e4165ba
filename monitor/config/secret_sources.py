"""Resolves references to secrets; the only place that reads the environment and secret files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from monitor.fields import SecretResolver

ReadSecretFile = Callable[[str], str]
"""Takes a path as written and returns the file's text; raises OSError or UnicodeError."""
_MAX_BYTES = 64 * 1024
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def secret_file_reader(directory: Path) -> ReadSecretFile:
    """Return a reader of secret files; relative paths start at `directory`."""

    def read(name: str) -> str:
        with (directory / name).open("rb") as file:
            return file.read(_MAX_BYTES + 1).decode()

    return read


def resolver(env: Mapping[str, str], read_file: ReadSecretFile) -> SecretResolver:
    """Return what turns `{env: NAME}` and `{file: PATH}` into values.

    The resolver raises ValueError with the reason; the reason never holds a value.
    """

    def resolve(how: str, name: str) -> str:
        return _from_environment(name, env) if how == "env" else _from_file(name, read_file)

    return resolve


def _from_environment(name: str, env: Mapping[str, str]) -> str:
    if not _VARIABLE.fullmatch(name):
        # Not repeated: it may be the secret itself, pasted in the wrong place.
        msg = "expected the name of an environment variable"
        raise ValueError(msg)
    if not env.get(name):
        msg = f"environment variable {name} is {'empty' if name in env else 'not set'}"
        raise ValueError(msg)
    return env[name]


def _from_file(name: str, read_file: ReadSecretFile) -> str:
    try:
        value = read_file(name)
    except OSError as error:
        msg = f"secret file {name} cannot be read: {error.strerror}"
        raise ValueError(msg) from None
    except UnicodeError:
        msg = f"secret file {name} is not UTF-8 text"
        raise ValueError(msg) from None
    if len(value) > _MAX_BYTES:
        msg = f"secret file {name} is larger than 64 KiB"
        raise ValueError(msg)
    value = value.removesuffix("\n").removesuffix("\r")
    if not value:
        msg = f"secret file {name} is empty"
        raise ValueError(msg)
    return value
