#!/usr/bin/python3
"""`valkey-cli [-h HOST] [-p PORT] ping`: the wheel has no client, and a health check wants no more of it."""

from __future__ import annotations

import argparse
import socket
import sys


def main() -> int:
    """Say what the server says; 0 if it says anything."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("-h", dest="host", default="127.0.0.1")
    parser.add_argument("-p", dest="port", type=int, default=6379)
    parser.add_argument("words", nargs="+")
    given = parser.parse_args()
    with socket.create_connection((given.host, given.port), timeout=5) as connection:
        connection.sendall((" ".join(given.words) + "\r\n").encode())
        said = connection.recv(4096).decode("utf-8", "replace").strip()
    print(said.lstrip("+-"))  # noqa: T201 - a program prints
    return 0


if __name__ == "__main__":
    sys.exit(main())
