"""A probe of several HTTP steps, where later ones use what earlier ones answered."""

from monitor.probes.flow.config import FlowProbeConfig

__all__ = ["FlowProbeConfig"]
