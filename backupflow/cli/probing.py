"""Asks a process whether it lives or is ready. Probes run this every few seconds: it imports next to nothing."""

from __future__ import annotations

import socket

from backupflow.errors import InputInvalid, SettingsInvalid

SECONDS = 5.0  # for the whole answer
QUESTIONS = ("live", "ready")
_MOST = 4096  # bytes of an answer of one line
_OK = b"200"
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - it listens there, and is asked here


def ask(host: str, port: int, question: str) -> tuple[bool, str]:
    """Whether it is well, and what it says; a process that does not answer is not."""
    host = _EVERYWHERE.get(host, host)
    try:
        with socket.create_connection((host, port), timeout=SECONDS) as connection:
            connection.sendall(f"GET /{question} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            said = b""
            while len(said) < _MOST and (part := connection.recv(_MOST)):
                said += part
    except OSError as exc:
        return False, f"no answer from {host}:{port}: {exc.strerror or 'timed out'}"
    head, _, body = said.partition(b"\r\n\r\n")
    status, text = head.split(None, 2)[1:2], body.decode("utf-8", "replace").strip()
    if not status or not text:
        return False, f"{host}:{port} answers, but is no process of backupflow"
    return status == [_OK], "".join(c if c.isprintable() else " " for c in text)


def quick(question: str, listen: str) -> int:
    """The command `health` for one process, whose CONFIG_METRICS_LISTEN this is; gives its exit code."""
    from backupflow.core.listen import listen_address

    try:
        host, port = listen_address(listen)
    except InputInvalid as exc:
        raise SettingsInvalid(f"CONFIG_METRICS_LISTEN: {exc.detail}") from None
    well, says = ask(host, port, question)
    print(says)  # noqa: T201 - through cli/output.py it would cost twice the time
    return 0 if well else 1
