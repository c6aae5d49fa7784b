"""Runs between fork and the program: binds the child's life to its parent's, gives up rights, then becomes the program.

Run as a file of its own (`python -I -S launch.py PARENT UID GID PROGRAM ARG…`), because code between fork and exec in a
process with threads may deadlock. Order matters: changing the user clears the death signal (prctl(2)), and a parent
that died before the prctl call is noticed only by asking for it afterwards.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
UNCHANGED = -1


def main(parent: int, uid: int, gid: int, command: list[str]) -> None:
    """Become `command`; returns never."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold keys and passwords
    os.umask(0o077)
    for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored_by_python, signal.SIG_DFL)
    if uid != UNCHANGED:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit("the supervisor is gone")
    try:
        os.execv(command[0], command)  # noqa: S606 -- no shell is wanted
    except OSError as exc:
        sys.exit(f"{command[0]}: {exc.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
