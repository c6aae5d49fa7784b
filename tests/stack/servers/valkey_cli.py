#!/usr/bin/python3
"""`valkey-cli [-h HOST] [-p PORT] [--user NAME --pass WORD] [-e] [COMMAND]`: as much of it as a health check wants.

The wheel has no client. Commands come from the standard input, a line each, if none is given.
"""

from __future__ import annotations

import argparse
import socket
import sys


def main() -> int:
    """Print what the server answers to each command; 1 if one of the answers is an error."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("-h", dest="host", default="127.0.0.1")
    parser.add_argument("-p", dest="port", type=int, default=6379)
    parser.add_argument("-e", action="store_true")
    parser.add_argument("--user")
    parser.add_argument("--pass", dest="password")
    parser.add_argument("words", nargs="*")
    given = parser.parse_args()
    commands = [" ".join(given.words)] if given.words else sys.stdin.read().splitlines()
    if given.user:
        commands.insert(0, f"AUTH {given.user} {given.password}")
    with socket.create_connection((given.host, given.port), timeout=5) as connection:
        connection.sendall("".join(f"{command}\r\n" for command in [*commands, "QUIT"]).encode())
        with connection.makefile("r", encoding="utf-8", errors="replace") as answers:
            said = answers.read().splitlines()
    print("\n".join(line.lstrip("+") for line in said))  # noqa: T201 - a program prints
    return int(any(line.startswith("-") for line in said))


if __name__ == "__main__":
    sys.exit(main())
