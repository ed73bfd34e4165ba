"""Answers: values as JSON, refusals as JSON, and work that simultaneous askers share."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from enum import Enum
from fractions import Fraction
from typing import Any, Generic, TypeVar

from aiohttp import web

from monitor.fields import Secret

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
T = TypeVar("T")


class RefusalError(Exception):
    """The request cannot be served; becomes `{"error": text, ...details}` with `status`."""

    def __init__(
        self, status: int, text: str, *, headers: Mapping[str, str] | None = None, **details: Any
    ) -> None:
        """Say why, for the person who sent the request."""
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers
        self.details = details

    def response(self) -> web.Response:
        """Return the answer."""
        return json_response(
            {"error": self.text, **self.details}, status=self.status, headers=self.headers
        )


def plain(value: object) -> Any:
    """Return `value` as JSON knows it: dataclasses as objects, no data and no number as null."""
    if is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, AbstractSet):
        return sorted(plain(each) for each in value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(each) for each in value]
    return _scalar(value)


def _scalar(value: object) -> str | float | None:
    if isinstance(value, Enum):
        value = value.value
    elif isinstance(value, Fraction):
        value = float(value)
    elif isinstance(value, Secret):
        value = repr(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    msg = f"{type(value).__name__} has no JSON form"
    raise TypeError(msg)


def json_response(
    value: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return `value` as a JSON document."""
    text = json.dumps(plain(value), allow_nan=False, ensure_ascii=False) + "\n"
    return web.Response(text=text, status=status, headers=headers, content_type="application/json")


class SingleFlight(Generic[T]):
    """Lets everyone who asks for the same thing at the same time wait for one making of it."""

    def __init__(self) -> None:
        """Start with nothing under way."""
        self._flights: dict[object, asyncio.Task[T]] = {}

    async def get(self, key: object, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what `make` returns; an asker who leaves does not stop it for the others."""
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(make(), name=f"web {key}")
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._land(key, done))
        return await asyncio.shield(flight)

    async def close(self) -> None:
        """Cut off what is under way."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _land(self, key: object, flight: asyncio.Task[T]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            # Looked at here because every asker may have left.
            flight.exception()
