"""Which commands one session sends, one after another, by what the router answered so far.

Looks at both ends of an answer only: it runs while the session is open. Whether an answer is a whole export is judged
afterwards, and of two the better one is taken then.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from backupflow.core.model import SecretsPolicy
from backupflow.drivers.routeros import completeness
from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupflow.core.driver import Asking, Reply

PLAIN: Final = "/export"
SENSITIVE: Final = "/export show-sensitive"  # RouterOS 7 hides secrets unless asked; 6 does not know the word
HIDING: Final = "/export hide-sensitive"  # 6 shows secrets unless asked; 7 still takes the word
SECRETS_HIDDEN_FROM: Final = 7  # the major version; the exit status of an earlier one says nothing
SMALL_MENU: Final = "/system identity export"  # one line, without a secret, under the same header as an export
_NONCE: Final = re.compile(r"[A-Za-z0-9]{1,64}")
_MOST: Final = 6  # commands of one session; the longest are five


class Answer(Enum):
    """What came back for a command, at first sight."""

    UNKNOWN = auto()  # the router does not know a word of it
    DENIED = auto()  # the user may not do that
    SOMETHING = auto()


def next_command(asking: Asking, replies: Sequence[Reply]) -> str | None:
    """Give the first command that is still worth asking: with the end mark, and without where no answer came to that.

    Each form is asked once.
    """
    given = {reply.command: reply for reply in replies}
    denied, heard = set[str](), False
    for mark in dict.fromkeys((asking.end_mark, None)):
        for command in order(asking):
            sent = with_mark(command, mark)
            if command in denied or (
                command == PLAIN and not _may_ask_plain(asking, given.get(with_mark(SMALL_MENU, mark)))
            ):
                continue
            if sent not in given:
                return sent if len(replies) < _MOST else None
            sight = at_first_sight(given[sent])
            if sight is Answer.SOMETHING:
                if command != SMALL_MENU and not _lacks_secrets(asking, given[sent], command):
                    return None
                heard = True  # so the router knows this form, with or without a mark
            elif sight is Answer.DENIED:
                denied.add(command)
                if command != SENSITIVE:
                    return None
        if heard:
            return None
    return None


def order(asking: Asking) -> tuple[str, ...]:
    """Give the commands of a policy in the order in which they are tried.

    A router that does not know how to hide is asked for a menu without secrets first: its header tells the version.
    """
    if asking.secrets is SecretsPolicy.OMIT:
        return (HIDING, SMALL_MENU, PLAIN)
    return (PLAIN, SENSITIVE) if asking.remembered == PLAIN else (SENSITIVE, PLAIN)


def at_first_sight(reply: Reply) -> Answer:
    """Tell refusals from anything else; RouterOS 6 refuses on stdout with exit status 0, others may on stderr."""
    text = reply.stdout if reply.stdout.strip() else reply.stderr
    if completeness.unknown_command(text):
        return Answer.UNKNOWN
    return Answer.DENIED if completeness.denied(text) else Answer.SOMETHING


def with_mark(command: str, nonce: str | None) -> str:
    """Let the router print the nonce after its export, as a line of its own.

    Written from MikroTik's manual (`;` separates statements, `:put` prints a line); never seen on a real router, so a
    router is asked once whether it does that (`probe`), and where it refuses the form it is asked without.
    An error that echoes the command cannot pass for the mark: there the nonce stands between quotes.
    """
    if nonce is None:
        return command
    if _NONCE.fullmatch(nonce) is None:
        raise InputInvalid("an end mark is a word of letters and digits")
    return f'{command}; :put "{nonce}"'


def without_mark(stdout: bytes, nonce: str) -> bytes | None:
    """Cut the end mark off, byte for byte; None if the last line is not exactly that."""
    for line in (nonce.encode() + b"\r\n", nonce.encode() + b"\n"):
        rest = stdout.removesuffix(line)
        if len(rest) < len(stdout) and (not rest or rest.endswith(b"\n")):
            return rest
    return None


def breaks_off(stdout: bytes, nonce: str) -> bool:
    """Tell whether the end mark stands at the end of a line that did not end: what came before it broke off."""
    return stdout.rstrip(b" \t\r\n").endswith(nonce.encode())


def probe(nonce: str) -> str:
    """Give a command of the same form as a marked export, of a menu that has one line."""
    return with_mark(SMALL_MENU, nonce)


def repeats(reply: Reply, nonce: str) -> bool:
    """Tell whether that went as it should, exit status and all: later on the mark will be required."""
    rest = without_mark(reply.stdout, nonce)
    if rest is None or at_first_sight(reply) is not Answer.SOMETHING:
        return False
    return reply.exit_status == 0 or any_status(completeness.major_version(rest))


def any_status(major: int | None) -> bool:
    """Tell whether the exit status of that version says nothing; an unknown version is held to the strict rule."""
    return major is not None and major < SECRETS_HIDDEN_FROM


def _may_ask_plain(asking: Asking, small: Reply | None) -> bool:
    """Whether plain may be asked: where secrets are to stay, only of a router that says that it hides them unasked."""
    if asking.secrets is SecretsPolicy.COLLECT:
        return True
    return small is not None and (completeness.major_version(small.stdout) or 0) >= SECRETS_HIDDEN_FROM


def _lacks_secrets(asking: Asking, reply: Reply, command: str) -> bool:
    """Whether this answer leaves out the secrets that were asked for: an upgrade since plain was remembered."""
    plain = command == PLAIN and asking.secrets is SecretsPolicy.COLLECT
    return plain and (completeness.major_version(reply.stdout) or 0) >= SECRETS_HIDDEN_FROM
