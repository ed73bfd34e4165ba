"""The configuration of a gRPC probe: what may stand in a file, checked before anything runs."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from monitor.fields import Line, Secret
from monitor.model import Deployment, Target
from monitor.probes.base import ProbeConfig, ProbeIO, Reach
from monitor.probes.endpoint import Endpoint, parse_endpoint
from monitor.probes.grpc.call import Headers
from monitor.probes.grpc.message import ServingStatus
from monitor.probes.grpc.probe import ALPN, GrpcProbe
from monitor.probes.http.url import parse_url

_KEY = re.compile(r"[0-9a-z_.-]{1,100}")
_VALUE = re.compile(r"[\x20-\x7e]*")
_OWN = frozenset({"te", "content-type", "user-agent", "host", "connection", "content-length"})
_SERVICE_MAX = 500
_AUTHORITY = r"^[0-9A-Za-z._\[\]:-]{1,255}$"


def check_metadata(metadata: dict[str, str | Secret]) -> dict[str, str | Secret]:
    """Return `metadata` when each entry can be sent as it stands.

    Raises:
        ValueError: saying why one cannot, without its value.
    """
    for key, value in metadata.items():
        if not _KEY.fullmatch(key):
            msg = f"{key!r} is no metadata key (lower-case letters, digits, '-', '_' and '.')"
            raise ValueError(msg)
        if key in _OWN or key.startswith("grpc-"):
            msg = f"{key} belongs to the protocol and cannot be set"
            raise ValueError(msg)
        if not _VALUE.fullmatch(_plain(value)):
            msg = f"the value of {key} holds something else than printable ASCII"
            raise ValueError(msg)
    return metadata


class GrpcProbeConfig(ProbeConfig):
    """Asks the standard gRPC health service, `grpc.health.v1.Health/Check`, about a service."""

    example: ClassVar[str] = (
        "{kind: grpc, name: cart, address: cart.shop.test:50051, service: shop.Cart}"
    )

    kind: Literal["grpc"] = "grpc"
    address: Line | None = None
    """`host:port`; host and port of the deployment's URL by default."""
    tls: bool | None = None
    """Speak TLS; by default where the deployment's URL is https."""
    service: Annotated[Line, Field(max_length=_SERVICE_MAX)] = ""
    """The full name of a service; the server as a whole by default."""
    expect: Literal["SERVING", "NOT_SERVING"] = "SERVING"
    """The state that is GOOD."""
    metadata: Annotated[dict[str, str | Secret], AfterValidator(check_metadata)] = Field(
        default_factory=dict
    )
    """Sent with the call; values may be secrets, those of `-bin` keys are base64."""
    authority: Annotated[str, Field(pattern=_AUTHORITY)] | None = None
    """The server's name as the call states it, where it is not `address`."""
    ca_file: str | None = None
    """PEM file with the authorities to trust instead of the system's."""
    insecure: bool = False
    """Accept any certificate; its expiry is then not reported."""

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.address is not None:
            parse_endpoint(self.address)
        if self.tls is False and (self.ca_file or self.insecure):
            msg = "ca_file and insecure are about TLS, which tls: false switches off"
            raise ValueError(msg)
        return self

    def reach(self, url: str) -> Reach | None:
        """Return `address`, or the place of `url`."""
        if self.address is None:
            return super().reach(url)
        endpoint = parse_endpoint(self.address)
        return Reach(endpoint.host, endpoint.port, secure=bool(self.tls))

    def build(self, target: Target, deployment: Deployment, url: str, io: ProbeIO) -> GrpcProbe:  # noqa: ARG002 - the signature of every kind
        """Return the probe of `target`.

        Raises:
            ValueError: when there is no address, or `ca_file` cannot be loaded.
        """
        base = parse_url(url)
        is_secure = base.scheme == "https" if self.tls is None else self.tls
        if self.address is None:
            endpoint = Endpoint(base.host, base.port, base.is_address)
        else:
            endpoint = parse_endpoint(self.address)
        context = io.tls.get(self.ca_file, insecure=self.insecure, alpn=(ALPN,))
        return GrpcProbe(
            target=target.id,
            endpoint=endpoint,
            authority=self.authority or str(endpoint),
            service=self.service,
            metadata=_encode(self.metadata),
            expected=ServingStatus[self.expect],
            context=context if is_secure else None,
            io=io,
        )


def _encode(metadata: dict[str, str | Secret]) -> Headers:
    return [(key.encode(), _plain(value).encode()) for key, value in metadata.items()]


def _plain(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value
