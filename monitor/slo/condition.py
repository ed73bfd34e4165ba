"""Conditions of alert rules: checked when loaded, compiled once, evaluated on plain values.

Owns the compiled form and what missing data means. Computes no signal.
"""

from __future__ import annotations

from collections.abc import Mapping

import cel

from monitor.slo.expression import Reading, read
from monitor.slo.signal import Signal
from monitor.slo.tokens import ConditionError

__all__ = ["Condition", "ConditionError", "compile_condition"]

Value = float | str


class Condition:
    """A compiled condition. Two with the same text are equal."""

    __slots__ = ("_divisors", "_program", "signals", "text")

    def __init__(self, text: str, reading: Reading) -> None:
        """Compile what was read; use `compile_condition`."""
        self.text = text
        self.signals: tuple[Signal, ...] = reading.signals
        self._program = cel.compile(reading.text)
        self._divisors = tuple(cel.compile(divisor) for divisor in reading.divisors)

    def __repr__(self) -> str:
        return f"Condition({self.text!r})"

    def __eq__(self, other: object) -> bool:
        """Compare texts, so that a reload sees an unchanged rule."""
        return isinstance(other, Condition) and other.text == self.text

    def __hash__(self) -> int:
        """Hash the text."""
        return hash(self.text)

    def evaluate(self, values: Mapping[str, Value | None]) -> bool | None:
        """Return whether the condition holds for `values` by signal name, None for no data.

        No data means: any signal of the condition is None or missing (even where the others
        would decide), something is divided by zero, or a number leaves its range.
        """
        known: dict[str, Value] = {}
        for signal in self.signals:
            value = values.get(signal.name)
            if value is None:
                return None
            known[signal.name] = value
        try:
            if any(divisor.execute(known) == 0 for divisor in self._divisors):
                return None
            return bool(self._program.execute(known))
        except (ArithmeticError, TypeError):
            # Integer overflow, and NaN (an overflow minus another), which CEL cannot compare.
            return None


def compile_condition(text: str) -> Condition:
    """Return the condition that `text` says.

    Raises:
        ConditionError: it is not one; the message says what to write instead.
    """
    reading = read(text)
    for pattern in reading.patterns:
        try:
            cel.compile(f"''.matches({pattern.text})").execute()
        except RuntimeError as error:
            msg = f"{pattern.literal!r} is not a regular expression"
            raise ConditionError(msg, pattern.at) from error
    return Condition(text, reading)
