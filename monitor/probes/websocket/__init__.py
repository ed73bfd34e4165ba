"""WebSocket probe: an upgrade of HTTP/1.1 and a message."""

from monitor.probes.websocket.config import WebSocketProbeConfig

__all__ = ["WebSocketProbeConfig"]
