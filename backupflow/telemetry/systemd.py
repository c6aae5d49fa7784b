"""sd_notify(3): a service of Type=notify tells systemd that it is ready, that it lives, and what it is at."""

from __future__ import annotations

import os
import socket
from datetime import timedelta


def notify(*lines: str) -> bool:
    """Send these assignments to whoever started this process; False if nobody wants to hear of it, or could."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # of the abstract namespace, unix(7)
        address = f"\0{address[1:]}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.sendto("\n".join(lines).encode(), address)
    except OSError:  # systemd itself is restarted: the next word reaches it
        return False
    return True


def is_wanted() -> bool:
    """Whether somebody started this process who wants to be told."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def watchdog_every(longest: timedelta) -> timedelta:
    """How often WATCHDOG=1 is to be said: a third of what systemd waits for (sd_watchdog_enabled(3)), or `longest`."""
    try:
        asked = timedelta(microseconds=int(os.environ.get("WATCHDOG_USEC", "0")))
    except ValueError:
        return longest
    return min(asked / 3, longest) if asked else longest
