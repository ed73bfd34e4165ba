"""A corpus of bad files, each with exactly what a person is told about it.

`bad_files.txt` holds the cases: `#### name`, the text of m.yml, perhaps `---- r.yml` and the text
of that, `====`, and the expected lines. `<channels>` and `<probes>` stand for the kinds that exist.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.config.errors import ConfigErrors
from monitor.config.kinds import discover
from monitor.config.load import load_plan
from monitor.notify.base import ChannelConfig
from monitor.probes.base import ProbeConfig

CORPUS = Path(__file__).with_name("bad_files.txt").read_text().split("#### ")[1:]


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.partition("\n")[0])
def test_every_mistake_is_told_with_its_place(tmp_path: Path, case: str) -> None:
    """All errors of all files come in one run, sorted, and no secret is among their words."""
    files, _, expected = case.partition("\n")[2].partition("====\n")
    main, _, rules = files.partition("---- r.yml\n")
    (tmp_path / "m.yml").write_text(main)
    (tmp_path / "r.yml").write_text(rules)
    with pytest.raises(ConfigErrors) as caught:
        load_plan(tmp_path / "m.yml", {"SET": "xSECRETx"})
    told = str(caught.value).replace(f"{tmp_path}/", "")
    expected = expected.replace("<channels>", ", ".join(discover(ChannelConfig)))
    expected = expected.replace("<probes>", ", ".join(discover(ProbeConfig)))
    assert told.splitlines() == expected.splitlines()
    assert "SECRET" not in told
