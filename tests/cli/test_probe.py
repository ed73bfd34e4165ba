"""`monitor probe`."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Run, aside
from tests.support.daemon import free_port
from tests.support.serve import serve
from tests.support.site import Site


async def test_a_good_answer(run: Run) -> None:
    """Exit 0, the status, and a bar for each phase; the same as numbers in JSON."""
    async with serve(Site()) as url:
        result = await aside(run, "probe", url)
        assert (result.code, result.err) == (0, "")
        assert result.out.startswith(f"GOOD {url}  HTTP 200")
        assert "total" in result.out
        assert "#" in result.out
        document = (await aside(run, "probe", url, "--output", "json")).document
        assert (document["outcome"], document["status"]) == ("good", 200)
        phases = document["phases_ms"]
        assert sum(phases.values()) == pytest.approx(document["latency_ms"], rel=0.5)


async def test_a_bad_answer(run: Run) -> None:
    """Exit 1, and why it is bad."""
    async with serve(Site(version="1.5.0")) as url:
        result = await aside(run, "probe", url)
        assert result.code == 1
        assert result.out.startswith(f"BAD {url}  HTTP 503")


def test_nobody_there(run: Run) -> None:
    """A refused connection is an answer: no."""
    result = run("probe", f"http://127.0.0.1:{free_port()}/", "--output", "json")
    assert result.code == 1
    assert "refused" in result.document["detail"] + result.document["reason"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ftp://127.0.0.1/"], "expected an http or https address"),
        (["127.0.0.1:80"], "expected an http or https address"),
        (["http://127.0.0.1:0x1F/"], "monitor probe"),
        (["http://127.0.0.1/", "--timeout", "soon"], "'soon'"),
        (["http://127.0.0.1/", "--timeout", "0s"], "'0s'"),
    ],
)
def test_what_cannot_be_probed(run: Run, arguments: list[str], words: str) -> None:
    """Exit 2 and the reason on stderr."""
    result = run("probe", *arguments)
    assert (result.code, result.out) == (2, "")
    assert words in result.err
