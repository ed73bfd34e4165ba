"""The `monitor` command: one thin file a command."""
