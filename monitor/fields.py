"""Field types that configuration models of every kind share: durations, percents, sizes, secrets.

Owns their text forms and their JSON Schema. Reads no environment: a secret reference is resolved
by the resolver that `config` passes as validation context under the key `secrets`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

SecretResolver = Callable[[str, str], str]
"""Takes (`env` | `file`, name) and returns the value; raises ValueError with the reason."""

_DURATION_UNITS = {
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86400),
    "w": Fraction(604800),
}
_DURATION = re.compile(r"(?:[0-9]{1,12}(?:\.[0-9]{1,12})?(?:ms|[smhdw])){1,6}")
_DURATION_PART = re.compile(r"([0-9.]+)(ms|[smhdw])")
_SIZE_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SIZE = re.compile(r"([0-9]{1,15})\s*(B|KB|MB|KiB|MiB|GiB)")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,12})?)\s*%")


def key_of(field: str) -> str:
    """Return a field's key in files: values there carry their unit, so the name does not.

    `interval_s` is written `interval: 15s`, `max_body_bytes` is `max_body: 64KiB`.
    """
    return field.removesuffix("_s").removesuffix("_bytes")


class Model(BaseModel):
    """Base of every configuration model: strict, frozen, unknown keys are errors.

    Code may use the field names; `config` validates files with `by_name=False`, so that a file
    has one spelling only.
    """

    model_config = ConfigDict(
        alias_generator=key_of,
        strict=True,
        frozen=True,
        extra="forbid",
        validate_by_name=True,
        validate_by_alias=True,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


def parse_exact_duration(text: object) -> Fraction:
    """Return the exact seconds of `15s`, `5m`, `1h30m`, `250ms`, `30d`.

    Raises:
        ValueError: when the text is not a duration.
    """
    if not isinstance(text, str) or not _DURATION.fullmatch(text):
        msg = "expected a duration such as 15s, 5m, 1h or 30d"
        raise ValueError(msg)
    parts = _DURATION_PART.findall(text)
    return sum((Fraction(number) * _DURATION_UNITS[unit] for number, unit in parts), Fraction())


def parse_duration(text: object) -> float:
    """Return the seconds of a duration.

    Raises:
        ValueError: when the text is not a duration.
    """
    return float(parse_exact_duration(text))


def parse_percent(text: object) -> Fraction:
    """Return the exact share (0-1) for `99.9%`, from its decimal text.

    Raises:
        ValueError: when the text is not a percentage in 0-100 %.
    """
    match = _PERCENT.fullmatch(text.strip()) if isinstance(text, str) else None
    share = Fraction(match[1]) / 100 if match else None
    if share is None or share > 1:
        msg = "expected a percentage such as 99.9%"
        raise ValueError(msg)
    return share


def parse_size(text: object) -> int:
    """Return bytes for `64KiB`, `1MB`.

    Raises:
        ValueError: when the text is not a size.
    """
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        msg = "expected a size such as 64KiB"
        raise ValueError(msg)
    return int(match[1]) * _SIZE_UNITS[match[2]]


def parse_name(text: object) -> str:
    """Return `text` when it can name something in labels, identifiers and mail headers.

    Raises:
        ValueError: when it cannot.
    """
    if not isinstance(text, str) or not _NAME.fullmatch(text):
        msg = "expected a name of at most 100 letters, digits, '.', '_' or '-'"
        raise ValueError(msg)
    return text


def parse_line(text: object) -> str:
    """Return `text` when it is one line without control characters.

    Raises:
        ValueError: when it is not.
    """
    if not isinstance(text, str) or not text.isprintable():
        msg = "expected one line of text without control characters"
        raise ValueError(msg)
    return text


def format_duration(seconds: float) -> str:
    """Return the shortest exact text of a duration: 90 -> `1m30s`, 0.25 -> `250ms`."""
    if seconds != int(seconds):
        return f"{seconds * 1000:g}ms"
    rest, parts = int(seconds), []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$", "examples": ["15s"]}),
]
Percent = Annotated[
    Fraction,
    BeforeValidator(parse_percent),
    PlainSerializer(lambda share: f"{float(share * 100):g}%"),
    WithJsonSchema({"type": "string", "pattern": f"^{_PERCENT.pattern}$", "examples": ["99.9%"]}),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema({"type": "string", "pattern": f"^{_SIZE.pattern}$", "examples": ["64KiB"]}),
]

Name = Annotated[
    str,
    BeforeValidator(parse_name),
    WithJsonSchema({"type": "string", "pattern": f"^{_NAME.pattern}$"}),
]
Line = Annotated[str, BeforeValidator(parse_line), WithJsonSchema({"type": "string"})]
"""Text that may stand in a mail header or a label."""


class Secret:
    """A value that is printed nowhere. In configuration: `{env: NAME}` or `{file: PATH}`."""

    __slots__ = ("_value", "source")

    def __init__(self, value: str, source: str = "") -> None:
        """Wrap `value`; `source` (`env NAME`, `file PATH`) is what people may see."""
        self._value = value
        self.source = source

    def reveal(self) -> str:
        """Return the secret itself, at the place where it is used."""
        return self._value

    def __repr__(self) -> str:
        """Show where it came from, never what it is."""
        return f"Secret({self.source or '***'})"

    def __eq__(self, other: object) -> bool:
        """Compare values, so that a reload sees a rotated secret."""
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        """Hash like any value object."""
        return hash(self._value)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: type[Any], _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Validate from a reference, by way of the resolver in the validation context."""
        return core_schema.with_info_plain_validator_function(
            cls._resolve,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda secret: f"<{secret.source}>"
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe the reference, which is all that a file may contain."""
        return {
            "type": "object",
            "properties": {"env": {"type": "string"}, "file": {"type": "string"}},
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": False,
            "writeOnly": True,
        }

    @classmethod
    def _resolve(cls, value: object, info: ValidationInfo) -> Secret:
        if isinstance(value, Secret):
            return value
        if isinstance(value, dict) and len(value) == 1:
            (how, name), *_ = value.items()
            if how in {"env", "file"} and isinstance(name, str):
                resolver: SecretResolver = (info.context or {})["secrets"]
                return cls(resolver(how, name), f"{how} {name}")
        # The value itself may be a secret that somebody pasted: it is not repeated here.
        msg = "expected a reference, {env: NAME} or {file: PATH}"
        raise ValueError(msg)
