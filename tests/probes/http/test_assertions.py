"""What makes an answer good."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.probes.failure import ProbeError
from monitor.probes.http.assertions import Checks, HeaderCheck, JsonCheck, format_statuses
from monitor.probes.http.conditions import (
    Condition,
    compile_regex,
    equals,
    exists,
    greater_than,
    less_than,
    matches,
    show,
)
from monitor.probes.http.expression import Expression
from monitor.probes.http.jsonpath import MISSING, parse_path
from monitor.probes.reason import Reason

OK = ((200, 299),)
DEEP = b"[" * 100_000


def judge(checks: Checks, body: bytes = b"", **answer: Any) -> str | None:
    given = {"status": 200, "latency_s": 0.1, "is_capped": False, **answer}
    return checks.judge(given.pop("status"), body, given.pop("latency_s"), **given)


def failure(checks: Checks, body: bytes = b"", **answer: Any) -> ProbeError:
    with pytest.raises(ProbeError) as caught:
        judge(checks, body, **answer)
    return caught.value


def json_checks(**conditions: Condition) -> Checks:
    found = tuple(
        JsonCheck(f"$.{name}", parse_path(name), condition)
        for name, condition in conditions.items()
    )
    return Checks(status=OK, json=found)


@pytest.mark.parametrize(
    ("ranges", "status", "is_good"),
    [
        (OK, 200, True),
        (OK, 299, True),
        (OK, 300, False),
        (OK, 199, False),
        (((200, 200), (404, 404)), 404, True),
        (((200, 200), (404, 404)), 403, False),
    ],
)
def test_status(ranges: tuple[tuple[int, int], ...], status: int, is_good: bool) -> None:  # noqa: FBT001 - a column of the table
    """Both ends of a range belong to it."""
    checks = Checks(status=ranges)
    if is_good:
        judge(checks, status=status)
    else:
        error = failure(checks, status=status)
        assert error.reason is Reason.STATUS
        assert error.detail == f"HTTP {status}, expected {format_statuses(ranges)}"


@pytest.mark.parametrize(
    ("condition", "value", "holds"),
    [
        (equals("ok"), "ok", True),
        (equals("ok"), "OK", False),
        (equals("1"), 1, False),
        (equals(1), 1.0, True),
        (equals(1), True, False),
        (equals(expected=True), True, True),
        (equals(expected=True), 1, False),
        (equals(None), None, True),
        (equals(None), MISSING, False),
        (equals("ok"), ["ok"], False),
        (exists(wanted=True), None, True),
        (exists(wanted=True), MISSING, False),
        (exists(wanted=False), MISSING, True),
        (exists(wanted=False), 0, False),
        (matches("^v[0-9]+$"), "v12", True),
        (matches("^v[0-9]+$"), "v", False),
        (matches("1"), 1, False),
        (matches("a"), "\ud800a", True),
        (less_than(5), 4.9, True),
        (less_than(5), 5, False),
        (less_than(5), "4", False),
        (less_than(5), True, False),
        (less_than(5), MISSING, False),
        (less_than(5), 10**400, False),
        (greater_than(5), 5, False),
        (greater_than(5), 5.1, True),
        (greater_than(5), None, False),
    ],
)
def test_conditions(condition: Condition, value: object, holds: bool) -> None:  # noqa: FBT001 - a column of the table
    """Types are not converted: a text is no number, true is not 1, and null is not missing."""
    assert condition.holds(value) is holds


def test_json_failures_say_what_was_found() -> None:
    """The first failing condition is named with its value and what was expected."""
    checks = json_checks(status=equals("healthy"), queue=less_than(10))
    error = failure(checks, b'{"status": "degraded", "queue": 1}')
    assert error.reason is Reason.JSON
    assert error.detail == "$.status is 'degraded', expected 'healthy'"
    error = failure(checks, b'{"status": "healthy"}')
    assert error.detail == "$.queue is missing, expected less than 10"
    assert judge(checks, b'{"status": "healthy", "queue": 9}') is None


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{", b"\xff\xfe", b'{"status": NaN}', DEEP, b"1" * 5000]
)
def test_not_json(body: bytes) -> None:
    """What cannot be parsed fails the check, quotes nothing and never raises anything else."""
    error = failure(json_checks(status=exists(wanted=False)), body)
    assert (error.reason, error.detail) == (Reason.JSON, "the body is not JSON")


def test_hostile_text_is_escaped_and_short() -> None:
    """A target cannot write control characters, direction marks or novels into our messages."""
    hostile = "\x1b[31m\u202e\n" + "x" * 10_000
    error = failure(json_checks(status=equals("ok")), json.dumps({"status": hostile}).encode())
    assert error.detail.isprintable()
    assert len(error.detail) < 200


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists) | st.integers())
def test_any_value_can_be_shown(value: object) -> None:
    """The text of a value is short, printable and encodable."""
    text = show(value)
    assert len(text) <= 700
    assert text.isprintable()
    text.encode()


def test_body_checks() -> None:
    """Text and pattern are looked for in the bytes, which need not be UTF-8."""
    checks = Checks(status=OK, contains="é".encode(), matches=compile_regex(r"v\d+"))
    assert checks.need_body
    judge(checks, b"\xff\xfe \xc3\xa9 v12")
    assert failure(checks, b"v12").reason is Reason.BODY
    assert failure(checks, "é".encode()).detail == "the body does not match the expected pattern"
    assert "within max_body" in failure(checks, b"secret", is_capped=True).detail


def test_a_pattern_cannot_be_made_slow() -> None:
    """A pattern that explodes elsewhere is linear here."""
    judge(Checks(status=OK, matches=compile_regex("(a+)+$")), b"a" * 60_000)
    assert (
        failure(Checks(status=OK, matches=compile_regex("^(a|aa)+$")), b"a" * 60_000 + b"b").reason
        is Reason.BODY
    )


@pytest.mark.parametrize("pattern", ["(", "(?=a)", r"(a)\1", "a{9999}", "[z-a]"])
def test_impossible_patterns(pattern: str) -> None:
    """What RE2 does not know is an error with its explanation."""
    with pytest.raises(ValueError, match=r"RE2 syntax: ."):
        compile_regex(pattern)


def test_latency_is_judged_last() -> None:
    """A slow answer that is also wrong is wrong; exactly the limit is not slow."""
    checks = Checks(status=OK, max_latency_s=0.5)
    judge(checks, latency_s=0.5)
    assert failure(checks, latency_s=0.501).reason is Reason.SLOW
    assert failure(checks, latency_s=9, status=500).reason is Reason.STATUS


@pytest.mark.parametrize(
    ("body", "revision"),
    [
        (b'{"version": "1.2.3"}', "1.2.3"),
        (b'{"version": ""}', None),
        (b'{"version": 1.2}', None),
        (b'{"version": "a\\nb"}', None),
        (b'{"version": "\\ud800"}', None),
        (b'{"version": "%s"}' % (b"1" * 129), None),
        (b"{}", None),
        (b"1.2.3", None),
    ],
)
def test_revision(body: bytes, revision: str | None) -> None:
    """A revision is a short printable text; anything else fails the probe rather than pass on."""
    checks = Checks(status=OK, revision=("version",))
    if revision is None:
        assert failure(checks, body).reason is Reason.JSON
    else:
        assert judge(checks, body) == revision


def test_a_cut_body_is_no_json() -> None:
    """JSON that did not fit is not judged by its beginning."""
    error = failure(Checks(status=OK, revision=()), b'"1.2.3"', is_capped=True)
    assert error.detail == "the body is longer than max_body"


HEADERS = ((b"Content-Type", b"text/html; charset=utf-8"), (b"Vary", b"A"), (b"vary", b"B\xff"))


@pytest.mark.parametrize(
    ("name", "pattern", "problem"),
    [
        ("content-type", "^text/html", ""),
        ("vary", "^B", ""),
        ("vary", "^C", "the header vary does not match the expected pattern"),
        ("etag", "", "the header etag is missing"),
    ],
)
def test_headers(name: str, pattern: str, problem: str) -> None:
    """One value of a header must match, and it must be there."""
    checks = Checks(status=OK, headers=(HeaderCheck(name, compile_regex(pattern)),))
    if problem:
        error = failure(checks, headers=HEADERS)
        assert (error.reason, error.detail) == (Reason.HEADER, problem)
    else:
        judge(checks, headers=HEADERS)


def test_the_expected_version() -> None:
    """Another version answers well, and is not what was expected."""
    checks = Checks(status=OK, revision=parse_path("version"), expected_revision="1.2.3")
    assert judge(checks, b'{"version": "1.2.3"}') == "1.2.3"
    error = failure(checks, b'{"version": "1.2.2"}')
    assert error.reason is Reason.VERSION
    assert error.detail == "the version is '1.2.2', expected '1.2.3'"
    assert failure(checks, b"{}").reason is Reason.JSON


@pytest.mark.parametrize(
    ("latency_s", "tainted_s", "reason"),
    [
        (0.2, 0.0, None),
        (0.3, 0.0, Reason.SLOW),
        (0.3, 0.04, Reason.SLOW),
        (0.3, 0.06, Reason.STALLED),
        (0.2, 0.19, None),
    ],
)
def test_slow_for_our_own_delay(latency_s: float, tainted_s: float, reason: Reason | None) -> None:
    """An answer that is only slow if our own stall is counted has not been judged."""
    checks = Checks(status=OK, max_latency_s=0.25)
    if reason is None:
        judge(checks, latency_s=latency_s, tainted_s=tainted_s)
    else:
        assert failure(checks, latency_s=latency_s, tainted_s=tainted_s).reason is reason


@pytest.mark.parametrize(
    ("text", "tainted_s", "reason"),
    [
        ("latency_ms < 50", 0.0, Reason.CEL),
        ("latency_ms < 50", 0.004, Reason.CEL),
        ("latency_ms < 50", 0.06, Reason.STALLED),
        ("status == 201", 0.06, Reason.CEL),
    ],
)
def test_expressions_on_tainted_times(text: str, tainted_s: float, reason: Reason) -> None:
    """Only what looks at the time can be wrong for our own delay."""
    checks = Checks(status=OK, expression=Expression(text))
    assert failure(checks, tainted_s=tainted_s).reason is reason


@pytest.mark.parametrize(
    ("checks", "need_body"),
    [
        (Checks(status=OK), False),
        (Checks(status=OK, expression=Expression("latency_ms < 5")), False),
        (Checks(status=OK, expression=Expression("json == null")), True),
        (Checks(status=OK, contains=b"a"), True),
        (Checks(status=OK, revision=()), True),
    ],
)
def test_what_needs_the_body(checks: Checks, *, need_body: bool) -> None:
    """A body that nobody looks at is not kept."""
    assert checks.need_body is need_body


ODD = st.sampled_from([10**30, -(10**4000), 1e308, "\ud800", "\0", "x" * 5000, [[]] * 3, {"a": {}}])
ANSWERS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | ODD,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=10,
).map(lambda document: json.dumps(document).encode())
CONDITIONS = (
    exists(wanted=True),
    exists(wanted=False),
    equals(5),
    equals("5"),
    matches("^a+$"),
    less_than(1e300),
    greater_than(-5),
)


@given(
    body=ANSWERS | st.binary(max_size=60),
    path=st.sampled_from(["$", "$.a", "$.a.b", "$[0]", "$.a[1]"]),
    condition=st.sampled_from(CONDITIONS),
    what=st.sampled_from(["json", "revision", "version", "pattern", "header"]),
    is_capped=st.booleans(),
)
def test_no_answer_breaks_the_checks(
    *, body: bytes, path: str, condition: Condition, what: str, is_capped: bool
) -> None:
    """Whatever an answer holds, each check accepts it or fails with words that can be shown."""
    where = parse_path(path)
    checks = {
        "json": Checks(status=OK, json=(JsonCheck(path, where, condition),)),
        "revision": Checks(status=OK, revision=where),
        "version": Checks(status=OK, revision=where, expected_revision="1.0"),
        "pattern": Checks(status=OK, matches=compile_regex("(a|b)*c$")),
        "header": Checks(status=OK, headers=(HeaderCheck("x", compile_regex("^a")),)),
    }[what]
    failure = None
    try:
        revision = checks.judge(200, body, 0.1, is_capped=is_capped, headers=[(b"X", body)])
    except ProbeError as error:
        failure = error
    if failure is None:
        assert revision is None or revision.isprintable()
    else:
        assert failure.reason.is_answer
        assert failure.detail.isprintable()
        failure.detail.encode()


@given(st.text(max_size=40) | st.text(alphabet="()[]{}*+?\\^$|<=!a1,-", max_size=20))
def test_no_text_breaks_the_compiler_of_patterns(text: str) -> None:
    """Arbitrary text is a pattern or a ValueError."""
    with contextlib.suppress(ValueError):
        compile_regex(text)
