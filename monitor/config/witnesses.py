"""Witnesses: places outside the deployments whose answer proves that we can see. Reads nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from monitor.config.plan import BoundProbe
from monitor.model import Target
from monitor.probes.base import ProbeConfig
from monitor.probes.endpoint import parse_endpoint
from monitor.probes.http.config import HttpProbeConfig
from monitor.probes.http.url import join
from monitor.probes.tcp import TcpProbeConfig

INTERVAL_S = 10.0
TIMEOUT_S = 3.0
_TCP = "tcp://"


def parse_witness(text: object) -> str:
    """Return `text` when it is a place that can be asked.

    Raises:
        ValueError: when it is none.
    """
    msg = "expected an address such as tcp://192.0.2.1:53 or https://status.example.net"
    if not isinstance(text, str) or not text.startswith((_TCP, "http://", "https://")):
        raise ValueError(msg)
    if text.startswith(_TCP):
        parse_endpoint(text.removeprefix(_TCP))
    else:
        join(text, "/")
    return text


def witnesses(addresses: Sequence[str]) -> Iterator[BoundProbe]:
    """Yield the probe of each witness; whatever it answers will do."""
    for address in addresses:
        target = Target(
            id=f"witness {address}",
            deployment="",
            environment="",
            probe="witness",
            region="",
            interval_s=INTERVAL_S,
            timeout_s=TIMEOUT_S,
            sli=False,
            # A witness was named because it is independent of everything else.
            network=f"witness {address}",
        )
        yield BoundProbe(target=target, config=_config(address), url=address)


def _config(address: str) -> ProbeConfig:
    if address.startswith(_TCP):
        return TcpProbeConfig(address=address.removeprefix(_TCP))
    # A status that is not expected is an answer all the same, and so is a bad certificate.
    return HttpProbeConfig(follow_redirects=False, insecure=True)
