"""gRPC probe: the standard health service over HTTP/2."""

from monitor.probes.grpc.config import GrpcProbeConfig

__all__ = ["GrpcProbeConfig"]
