"""The columns that hold whole values: the alerts of an incident, an acknowledgement, matchers.

Owns their JSON only. What an older version did not write has its default.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from monitor.model import Acknowledgement, IncidentAlert, Matcher, Priority, Severity
from monitor.store.table import Codec, dump, finite

_MAPPINGS = ("values", "labels", "annotations")


def _alert_out(alert: IncidentAlert) -> dict[str, Any]:
    cells = {name: getattr(alert, name) for name in IncidentAlert.__slots__}
    for name in _MAPPINGS:
        cells[name] = {key: finite(value) for key, value in cells[name].items()}
    return cells


def _alert_in(cells: dict[str, Any]) -> IncidentAlert:
    for name in _MAPPINGS:
        cells[name] = MappingProxyType(cells[name])
    cells["severity"] = Severity(cells["severity"])
    cells["priority"] = Priority(cells["priority"])
    cells["channels"] = tuple(cells["channels"])
    return IncidentAlert(**cells)


INCIDENT_ALERTS = Codec(
    lambda alerts: dump([_alert_out(each) for each in alerts]),
    lambda cell: tuple(_alert_in(each) for each in json.loads(cell)),
)
ACKNOWLEDGEMENT = Codec(
    lambda given: dump(asdict(given)), lambda cell: Acknowledgement(**json.loads(cell))
)
MATCHERS = Codec(
    lambda matchers: dump([asdict(each) for each in matchers]),
    lambda cell: tuple(Matcher(**each) for each in json.loads(cell)),
)
