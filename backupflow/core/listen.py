"""An address that a process listens on, as it stands in a setting: host:port, or [host]:port for IPv6."""

from __future__ import annotations

from backupflow.errors import InputInvalid


def listen_address(text: str) -> tuple[str, int]:
    """Host and port. InputInvalid if the text is not host:port; port 0 is any that is free."""
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not (colon and bare and port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65_535):  # noqa: PLR2004 - the greatest there is
        raise InputInvalid("not host:port, such as 127.0.0.1:9200")
    if ":" in bare and bare == host:
        raise InputInvalid("an IPv6 address stands in brackets: [host]:port")
    return bare, int(port)
