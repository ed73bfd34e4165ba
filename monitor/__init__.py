"""slo-monitor: a sidecar that probes deployments, keeps their SLOs, pages and rolls back."""

__version__ = "0.1.0"
