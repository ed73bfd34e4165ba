"""Values as JSON, and work that simultaneous askers share."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

import pytest

from monitor.fields import Secret
from monitor.model import Severity
from monitor.web.respond import RefusalError, SingleFlight, json_response, plain


@dataclass(frozen=True, slots=True)
class Thing:
    """Any value of ours."""

    name: str
    parts: tuple[float | None, ...]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (1.5, 1.5),
        (float("nan"), None),
        (float("-inf"), None),
        (Fraction(1, 4), 0.25),
        (Severity.CRITICAL, "critical"),
        (Thing("a", (1.0, None)), {"name": "a", "parts": [1.0, None]}),
        (MappingProxyType({"k": Severity.INFO}), {"k": "info"}),
        (Secret("hunter2", "env X"), "Secret(env X)"),
    ],
)
def test_values_have_a_json_form(value: object, expected: object) -> None:
    """Dataclasses are objects, no number is null, a secret stays one."""
    assert plain(value) == expected


def test_a_foreign_object_is_a_mistake_of_ours() -> None:
    """Nothing is written by its repr."""
    with pytest.raises(TypeError, match="object has no JSON form"):
        plain(object())


def test_a_refusal_carries_its_details() -> None:
    """Status, text, headers and more fields."""
    answer = RefusalError(404, "no such thing", headers={"X-A": "b"}, names=["x"]).response()
    assert (answer.status, answer.headers["X-A"]) == (404, "b")
    assert json.loads(answer.text or "") == {"error": "no such thing", "names": ["x"]}


def test_json_is_utf8_and_not_escaped() -> None:
    """People read it with curl."""
    assert "ä" in (json_response({"a": "ä"}).text or "")


async def test_all_askers_get_one_making_even_if_the_first_leaves() -> None:
    """The one who began may be cut off; the others still get the answer."""
    flights: SingleFlight[int] = SingleFlight()
    go, made = asyncio.Event(), []

    async def make() -> int:
        made.append(1)
        await go.wait()
        return 7

    first, second = (asyncio.create_task(flights.get("k", make)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    go.set()
    assert await second == 7
    assert made == [1]
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_the_next_asker_gets_a_fresh_one() -> None:
    """Nothing is kept once it has landed, least of all a failure."""
    flights: SingleFlight[int] = SingleFlight()

    async def fail() -> int:
        raise LookupError

    async def succeed() -> int:
        return 1

    with pytest.raises(LookupError):
        await flights.get("k", fail)
    assert await flights.get("k", succeed) == 1


async def test_closing_cuts_off_what_is_under_way() -> None:
    """Shutdown does not wait for a rendering."""
    flights: SingleFlight[None] = SingleFlight()
    asker = asyncio.create_task(flights.get("k", lambda: asyncio.Event().wait()))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await flights.close()
    with pytest.raises(asyncio.CancelledError):
        await asker
