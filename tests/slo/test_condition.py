"""Conditions: what loads, what is refused and how, and what they evaluate to."""

from __future__ import annotations

import math
import operator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.slo.condition import Condition, ConditionError, compile_condition
from monitor.slo.signal import ALLOWED_VALUES

VALUES: dict[str, float | str | None] = {
    "error_rate_5m": 5.0,
    "error_rate_1h": 0.0,
    "p95_latency": 3000.0,
    "uptime_percentage": 99.9,
    "deployment_status": "failed",
    "health": "degraded",
    "revision": "v1.2.3",
    "samples_5m": 20.0,
}


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("error_rate_5m > 5", False),
        ("error_rate_5m >= 5", True),
        ("p95_latency > 3000", False),
        ("uptime_percentage < 99.9", False),
        ("uptime_percentage <= 99.9", True),
        ("deployment_status == 'failed'", True),
        ('deployment_status == "failed"', True),
        ("error_rate_5m * 2 > 5", True),
        ("2 * error_rate_5m + 1 == 11", True),
        ("error_rate_5m > 5 / 2", True),
        ("-error_rate_5m < -4", True),
        ("--error_rate_5m > 4 && !!(1 < 2)", True),
        ("error_rate_5m - -1 == 6", True),
        ("error_rate_5m in [1, 2.5, 5]", True),
        ("error_rate_5m in [(5), 6]", True),
        ("health in ['degraded', 'unhealthy']", True),
        ("!(health == 'healthy') && samples_5m >= 10", True),
        ("health == 'healthy' || error_rate_5m == 5", True),
        ("health == 'healthy' ? error_rate_5m > 1 : error_rate_5m > 9", False),
        ("(health == 'degraded' ? 1 : 2.5) == 1", True),
        ("int(error_rate_5m) % 2 == 1", True),
        ("double(7) / error_rate_5m > 1.3", True),
        ("revision.startsWith('v1.') && revision.endsWith('3')", True),
        ("revision.contains('2') && !revision.matches('^v2')", True),
        ("revision.matches('^v[0-9]+[.]')", True),
        ("size(revision) == 6 && revision.size() * error_rate_5m == 30", True),
        ("string(revision) + 'x' == 'v1.2.3x'", True),
        ("revision == 'it\\'s'", False),
        ("error_rate_5m == 5 == true", True),
        ("error_rate_5m\n  > 4\n  && true", True),
        ("p95_latency > 1e3", True),
        ("true", True),
    ],
)
def test_conditions_say_what_they_read_like(text: str, answer: bool) -> None:  # noqa: FBT001 - the table's column
    """Each form of the language evaluates as in CEL, ints widened where they meet doubles."""
    condition = compile_condition(text)
    assert condition.evaluate(VALUES) is answer
    assert condition.text == text


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("eror_rate_5m > 5", 0, "unknown name eror_rate_5m (did you mean error_rate_5m"),
        ("eror_rate_5m > 5", 0, "`monitor query --help` lists all names"),
        ("error_rate_7m > 5", 0, "there is no window 7m; windows are 1m 5m 10m"),
        ("p95_latency_20m > 5", 0, "there is no window 20m"),
        ("1 > cpu", 4, "unknown name cpu"),
        ("health > 5", 7, "a text cannot be compared with a number"),
        ("error_rate_5m == 'high'", 14, "a number cannot be compared with a text"),
        ("health + 1 == 'x'", 7, "a text cannot be used with + and a number"),
        ("revision < 'v2'", 9, "texts have == and !="),
        ("true + true == true", 5, "works on numbers, not on a truth value"),
        ("error_rate_5m", 0, "must be true or false, this is a number: compare it"),
        ("'failed'", 0, "must be true or false, this is a text"),
        ("error_rate_5m > 5 && p95_latency", 21, "&& needs a truth value on both sides"),
        ("!health", 1, "! needs a truth value, this is a text"),
        ("-health == 'x'", 1, "- needs a number"),
        ("1 < 2 < 3", 6, "a truth value cannot be compared with a number"),
        ("deployment_status == 'fialed'", 21, "never 'fialed'; it is one of unknown, in_progress"),
        ("'sick' != health", 0, "it is one of healthy, degraded, unhealthy, unknown"),
        ("health in ['degraded', 'down']", 23, "never 'down'"),
        ("health in 'degraded'", 10, "in needs a list"),
        ("health in [1]", 10, "never in a list of other things"),
        ("health in []", 11, "expected a name, a number or a text"),
        ("health in ['degraded', 1]", 23, "of one type"),
        ("[1] == [1]", 4, "a list cannot be compared"),
        ("true ? 1 : 'a'", 11, "one branch is a number, the other a text"),
        ("1 ? true : false", 0, "? needs a truth value"),
        ("[1, 2].all(x, x > 0)", 7, "comprehension"),
        ("has(health)", 0, "comprehension"),
        ("[error_rate_5m].exists(x, x > 5)", 16, "comprehension"),
        ("max(error_rate_5m, 5) > 1", 0, "there is no function max()"),
        ("double(error_rate_5m, 5) > 1", 20, "expected ')' here, got ,"),
        ("health.size(5) > 1", 7, "size() needs nothing between"),
        ("abs(error_rate_5m) > 1", 0, "no function abs(); there are double(), int()"),
        ("int(health) > 1", 4, "int() needs a number"),
        ("string(true) == 'true'", 7, "string() needs a number or a text"),
        ("size(5) > 1", 5, "size() needs a text"),
        ("double() > 1.0", 0, "double() needs one value"),
        ("health.lower() == 'x'", 7, "texts have no lower(); they have contains"),
        ("health.contains()", 7, "contains() needs one text"),
        ("health.contains(5)", 16, "contains() needs a text"),
        ("samples_5m.contains('x')", 0, "needs a text before the dot"),
        ("health.x == 'y'", 9, "expected '('"),
        ("health.'x' == 'y'", 7, "name of a text's method"),
        ("revision.matches(health)", 17, "pattern written out"),
        ("revision.matches('[')", 17, "not a regular expression"),
        ("revision.matches('(a{99}){99}')", 17, "may be slow"),
        ("revision.matches('" + "a" * 129 + "')", 17, "may be slow"),
        (r"revision.matches('\\w\\w\\w\\w\\w\\w\\w\\w\\w')", 17, "may be slow"),
        ("error_rate_5m = 5", 14, "= is not an operator here, write =="),
        ("error_rate_5m > 5 and true", 18, "write &&"),
        ("error_rate_5m > 5 & true", 18, "write &&"),
        ("not true", 0, "unknown name not"),
        ("error_rate_5m > 5%", 17, "write 5, not 5%"),
        ("p95_latency > 3000ms", 14, "numbers have no unit"),
        ("p95_latency > 3000 3", 19, "expected an operator or the end here, got 3"),
        ("error_rate_5m % 2 == 1", 14, "% needs whole numbers"),
        ("error_rate_5m / 0 > 1", 16, "division by zero"),
        ("error_rate_5m / -0.0 > 1", 16, "division by zero"),
        ("samples_5m > 99999999999999999999", 13, "too large"),
        ("samples_5m > 1e999", 13, "too large"),
        ("samples_5m > .5", 13, "expected a name, a number or a text here, got ."),
        ("samples_5m >", 12, "got the end"),
        ("(samples_5m > 1", 15, "expected ')' here, got the end"),
        ("", 0, "got the end"),
        ("health == 'degraded", 10, "never closed"),
        ("health == 'a\\q'", 12, "unknown escape"),
        ("samples_5m > 1 # x", 15, "unexpected character '#'"),
        ("samples_5m > ٣", 13, "unexpected character"),
        ("health == '\ud800'", 11, "half of a pair"),
        ("true" + " && true" * 300, 2048, "longer than 2048 bytes"),
        ("(" * 33 + "true" + ")" * 33, 32, "nested more than 32 levels"),
        ("!" * 40 + "true", 32, "nested more than 32 levels"),
        ("true ? true : " * 40 + "true", 448, "nested more than 32 levels"),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_stands(
    text: str, offset: int, message: str
) -> None:
    """A bad condition is a load error that points and says what to do."""
    with pytest.raises(ConditionError) as caught:
        compile_condition(text)
    assert message in caught.value.message
    assert caught.value.offset == offset


def test_a_signal_without_data_makes_the_condition_no_data() -> None:
    """Even where the other inputs would decide, missing data is not guessed away."""
    condition = compile_condition("error_rate_5m > 1 || p95_latency > 3000")
    assert [signal.name for signal in condition.signals] == ["error_rate_5m", "p95_latency"]
    assert condition.evaluate({"error_rate_5m": 9.0, "p95_latency": None}) is None
    assert condition.evaluate({"error_rate_5m": 9.0}) is None
    assert condition.evaluate({"error_rate_5m": 9.0, "p95_latency": 1.0}) is True


@pytest.mark.parametrize(
    "text",
    [
        "error_rate_5m / error_rate_1h > 2",
        "error_rate_1h / error_rate_1h > 2",
        "true || 1 / int(error_rate_1h) > 2",
        "7 % int(error_rate_1h) == 1",
        "1 / (error_rate_5m / error_rate_1h) > 2",
        "int(error_rate_5m * 1e300) > 5",
        "9223372036854775807 + int(error_rate_5m) > 1",
        "error_rate_5m * 1e308 - error_rate_5m * 1e308 > 1",
    ],
)
def test_arithmetic_without_an_answer_is_no_data(text: str) -> None:
    """Division by zero and overflow say nothing, they do not fire and do not raise."""
    assert compile_condition(text).evaluate(VALUES) is None


def test_a_condition_of_full_size_compiles_and_runs() -> None:
    """The limits are the real limits: 2 KiB flat, 32 levels deep."""
    flat = "error_rate_5m > 5" + " || error_rate_5m > 4" * 96
    assert compile_condition(flat).evaluate(VALUES) is True
    deep = "(" * 31 + "error_rate_5m > 4" + ")" * 31
    assert compile_condition(deep).evaluate(VALUES) is True


def test_conditions_compare_by_text() -> None:
    """A reload sees that a rule did not change."""
    first, second = compile_condition("error_rate_5m > 5"), compile_condition("error_rate_5m > 5")
    assert first == second
    assert hash(first) == hash(second)
    assert first != compile_condition("error_rate_5m > 6")
    assert "error_rate_5m > 5" in repr(first)


def load(text: str) -> Condition | ConditionError:
    try:
        return compile_condition(text)
    except ConditionError as error:
        return error


NUMBERS = ("error_rate_5m", "p95_latency", "samples_1h")


def inputs(numbers: st.SearchStrategy[float]) -> st.SearchStrategy[dict[str, float | str]]:
    return st.fixed_dictionaries(
        dict.fromkeys(NUMBERS, numbers)
        | {name: st.sampled_from(values) for name, values in ALLOWED_VALUES.items()}
        | {"revision": st.text(max_size=8)}
    )


def joined(parts: tuple[str, ...]) -> str:
    return f"({' '.join(parts)})"


def numbers_of(
    signs: str, whole: st.SearchStrategy[int], wrappers: tuple[str, ...]
) -> st.SearchStrategy[str]:
    return st.recursive(
        st.sampled_from(NUMBERS)
        | whole.map(str)
        | st.floats(0.001, 1e6).map("{:.6f}".format)
        | st.sampled_from(["size(revision)", "health.size()"]),
        lambda inner: (
            st.tuples(inner, st.sampled_from(signs), inner).map(joined)
            | st.tuples(inner, st.sampled_from(wrappers)).map(lambda pair: pair[1].format(pair[0]))
        ),
        max_leaves=6,
    )


def truths_of(number: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    order = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
    return st.recursive(
        st.tuples(number, order, number).map(joined)
        | st.tuples(number, st.lists(number, min_size=1, max_size=3)).map(
            lambda pair: f"({pair[0]} in [{', '.join(pair[1])}])"
        )
        | st.sampled_from(["revision.matches('^v[0-9]+')", "(health != 'healthy')", "true"])
        | number.map("(string({}) == revision)".format),
        lambda inner: (
            st.tuples(inner, st.sampled_from(["&&", "||", "==", "!="]), inner).map(joined)
            | inner.map("!({})".format)
            | st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} ? {t[1]} : {t[2]})")
        ),
        max_leaves=5,
    )


finite = st.floats(allow_nan=False, allow_infinity=False)
wild = truths_of(numbers_of("+-*/%", st.integers(0, 2**63 - 1), ("-{}", "int({})", "double({})")))
tame = truths_of(numbers_of("+-*", st.integers(0, 1000), ("-{}", "double({})", "(true ? {} : 1)")))
MISSED = ("zero", "nested", "longer", "too large", "whole numbers")


@settings(max_examples=300)
@given(wild, inputs(finite))
def test_whatever_loads_evaluates_for_all_inputs(text: str, values: dict[str, float | str]) -> None:
    """Nothing that the checker accepts raises, however wild the arithmetic is."""
    loaded = load(text)
    if isinstance(loaded, Condition):
        assert loaded.evaluate(values) in {True, False, None}
    else:
        assert any(why in loaded.message for why in MISSED), (text, loaded.message)


@settings(max_examples=200)
@given(tame, inputs(st.floats(-1e6, 1e6)))
def test_well_typed_conditions_load_and_have_an_answer(
    text: str, values: dict[str, float | str]
) -> None:
    """Without division and overflow every well-typed condition is decided by its inputs."""
    loaded = load(text)
    if isinstance(loaded, Condition):
        assert loaded.evaluate(values) in {True, False}, text
    else:
        assert "nested" in loaded.message, (text, loaded.message)


SIGNS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
ORDERS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


@given(
    finite,
    finite,
    st.sampled_from(sorted(SIGNS)),
    st.sampled_from(sorted(ORDERS)),
    st.integers(1, 9),
)
def test_arithmetic_and_order_agree_with_python(
    left: float, right: float, sign: str, order: str, limit: int
) -> None:
    """Numbers mean what they mean in IEEE arithmetic, whole limits included."""
    condition = compile_condition(f"error_rate_5m {sign} p95_latency {order} {limit}")
    answer = condition.evaluate({"error_rate_5m": left, "p95_latency": right})
    if sign == "/" and right == 0:
        assert answer is None
        return
    try:
        exact = SIGNS[sign](left, right)
    except OverflowError:
        exact = math.copysign(math.inf, left) * math.copysign(1, right)
    assert answer is ORDERS[order](exact, limit)


@given(st.text(alphabet="()![]'\"\\&|=<>+-*/%?:.,0123456789 aeprt_5mhealthinotrue", max_size=40))
def test_any_text_either_loads_or_is_a_condition_error(text: str) -> None:
    """No text makes the loader fail in another way, and its offset lies in the text."""
    loaded = load(text)
    assert isinstance(loaded, Condition) or 0 <= loaded.offset <= len(text)
