"""CEL on one answer: what it sees, what is refused at load, and that no answer breaks it."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.model import Outcome
from monitor.probes.failure import ProbeError
from monitor.probes.http.expression import Expression, Facts
from monitor.probes.reason import Reason
from tests.probes.raw_server import replies, response, run_probe, serve

HEADERS = ((b"Content-Type", b"text/html"), (b"Via", b"a"), (b"via", b"b"))


def facts(body: bytes = b"{}", status: int = 200, latency_s: float = 0.1) -> Facts:
    return Facts(status, HEADERS, body, latency_s, (("wait", 0.05),))


def verdict(text: str, about: Facts) -> str:
    """Empty when the expression accepts the answer."""
    try:
        Expression(text).judge(about)
    except ProbeError as error:
        return f"{error.detail}" if error.reason is Reason.CEL else f"wrong reason {error.reason}"
    return ""


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("status == 200 && json.items.size() > 0 && latency_ms < 500", b'{"items": [1]}'),
        ("headers['content-type'].startsWith('text/')", b""),
        ("headers.via == 'a, b'", b""),
        ("phases.wait == 50.0 && !('tls' in phases)", b""),
        ("body.contains('caf\u00e9')", "caf\u00e9".encode()),
        ("json == null", b"no JSON"),
        ("json.all(each, each.up)", b'[{"up": true}, {"up": true}]'),
        ("json.a.exists(x, x > 1) && json.a.all(x, x > 0)", b'{"a": [1, 2]}'),
        ("has(json.version) ? json.version == '1' : true", b"{}"),
        ("body == 'x.map(y, y.map(z, 1))'", b"x.map(y, y.map(z, 1))"),
    ],
)
def test_what_holds(text: str, body: bytes) -> None:
    """Every variable is there, in the units of conditions."""
    assert verdict(text, facts(body)) == ""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("status == 404", "status == 404 is false"),
        ("latency_ms < 50", "is false"),
        ("status", "is a int, expected true or false"),
        ("json.a.b > 1", "cannot evaluate json.a.b > 1: "),
        ("status + body == 1", "cannot evaluate"),
        ("1 / (status - 200) == 1", "division by zero"),
        ("json[3] == 1", "cannot evaluate"),
    ],
)
def test_what_does_not(text: str, problem: str) -> None:
    """False, no answer to the question, and a question that has none are told apart."""
    assert problem in verdict(text, facts())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("status ==", "parse"),
        ("", "parse"),
        ("statsu == 200", "statsu is not known here; there are status, headers, body"),
        ("nosuch(status)", "nosuch is not known here; there are size, contains"),
        ("cel.bind(x, 1, x > 0)", "cel is not known here"),
        ("json.all(x, x.all(y, y > 0))", "cannot stand inside another walk"),
        ("size(json.map(x, json.filter(y, y == x))) > 1", "cannot stand inside another walk"),
        ("status == 1 ||" * 200 + "true", "at most 2000 characters"),
    ],
)
def test_what_is_refused_at_load(text: str, problem: str) -> None:
    """A mistake that no answer can mend is found before anything runs."""
    with pytest.raises(ValueError, match="(?s)" + problem.replace("(", r"\(")):
        Expression(text)


def test_two_with_the_same_text_are_equal() -> None:
    """A reload sees an unchanged configuration."""
    assert Expression("status == 200") == Expression("status == 200")
    assert len({Expression("status == 200"), Expression("status == 200")}) == 1
    assert Expression("status == 200") != Expression("status == 201")


@pytest.mark.parametrize(
    ("text", "body", "times"),
    [
        ("status == 200", False, False),
        ("json == null || latency_ms > 1", True, True),
        ("body == ''", True, False),
        ("'wait' in phases", False, True),
    ],
)
def test_what_is_needed(text: str, *, body: bool, times: bool) -> None:
    """A body is not read for an expression that does not look at it."""
    expression = Expression(text)
    assert (expression.needs_body, expression.needs_times) == (body, times)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(
    text=st.sampled_from(
        ["json.a > 1", "json.all(x, x.a == 1)", "json[0] != json[1]", "size(json) > 0", "json > 1"]
    ),
    body=JSON.map(json.dumps).map(str.encode) | st.binary(max_size=20),
)
def test_no_answer_breaks_it(text: str, body: bytes) -> None:
    """Whatever a target sends, the expression holds or the reason is `cel`."""
    assert not verdict(text, facts(body)).startswith("wrong")


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=30)
    | st.lists(
        st.sampled_from(
            ["json", "status", ".", "a", "(", ")", "[", "]", "'", "==", "&&", "1", "!"]
        ),
        max_size=12,
    ).map("".join)
)
def test_no_text_breaks_the_compiler(text: str) -> None:
    """Arbitrary text is an expression that any answer can be judged by, or a ValueError."""
    with contextlib.suppress(ValueError):
        assert not verdict(text, facts(b'{"a": [1, 1e308, 1000000000000000000000000]}')).startswith(
            "wrong"
        )


@pytest.mark.parametrize("body", [b"[" * 60_000, b"[" * 900 + b"]" * 900, b'{"a":' * 900 + b"1"])
def test_deep_answers_do_no_harm(body: bytes) -> None:
    """Nesting beyond reason is no JSON."""
    assert verdict("json == null || json != null", facts(body)) == ""


def test_a_long_answer_is_walked_through_quickly() -> None:
    """The largest body that a probe reads takes no noticeable time."""
    body = json.dumps(list(range(150_000))).encode()
    began = time.perf_counter()
    assert verdict("json.all(x, x >= 0)", facts(body)) == ""
    assert time.perf_counter() - began < 2.0


async def test_as_a_check_of_a_probe() -> None:
    """The probe reads the body for it, and says what did not hold."""
    fields: dict[str, Any] = {"cel": "status == 200 && json.queue < 10 && 'x-region' in headers"}
    async with serve(replies(response(b'{"queue": 3}', "200 OK", "X-Region: eu"))) as port:
        good = await run_probe(f"http://127.0.0.1:{port}", **fields)
    async with serve(replies(response(b'{"queue": 30}', "200 OK", "X-Region: eu"))) as port:
        bad = await run_probe(f"http://127.0.0.1:{port}", **fields)
    assert good.outcome is Outcome.GOOD
    assert (bad.outcome, bad.reason) == (Outcome.BAD, "cel")
    assert bad.latency_s is not None
