"""How a benchmark says what it found: one line a figure, and an exit code.

Measures nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MISSING = 2
"""Exit code when something that has to be there is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured value; `at_most` or `at_least` is its bar, both None where there is none."""

    name: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether it keeps its bar."""
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )

    def __str__(self) -> str:
        """Return its line."""
        bar = "none"
        if self.at_most is not None:
            bar = f"<= {self.at_most:g} {self.unit}"
        elif self.at_least is not None:
            bar = f">= {self.at_least:g} {self.unit}"
        note = f" [{self.note}]" if self.note else ""
        verdict = "ok" if self.ok else "FAILED"
        return f"{self.name}: {self.value:.4g} {self.unit} (bar: {bar}) {verdict}{note}"


def conclude(figures: Sequence[Figure]) -> int:
    """Print all figures; return the exit code."""
    for figure in figures:
        print(figure)
    return 0 if all(figure.ok for figure in figures) else 1
