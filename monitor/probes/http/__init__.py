"""HTTP(S) probe on our own HTTP/1.1 wire engine, so that every phase of the latency is known."""

from monitor.probes.http.config import HttpProbeConfig

__all__ = ["HttpProbeConfig"]
