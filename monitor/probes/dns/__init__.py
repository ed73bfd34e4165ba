"""DNS probe: one query to one server and what its answer must hold."""

from monitor.probes.dns.config import DnsProbeConfig

__all__ = ["DnsProbeConfig"]
