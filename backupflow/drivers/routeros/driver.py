"""The RouterOS driver: how to ask for an export, and what is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from backupflow.core.driver import Complete, Completeness, Incomplete, Reason, Reply
from backupflow.drivers.routeros import completeness
from backupflow.drivers.routeros.normal import normalize

if TYPE_CHECKING:
    from backupflow.core.model import NormalConfig, RawConfig

SENSITIVE: Final = "/export show-sensitive"  # RouterOS 7 hides secrets unless asked; 6 does not know the word
PLAIN: Final = "/export"
_SECRETS_HIDDEN_FROM: Final = 7  # the major version; the exit status of an earlier one says nothing

# Names of properties; of a dotted name (`security.passphrase`) the last part counts. Masking one too many is harmless.
SECRET_KEYS: Final = frozenset(
    {
        "auth-key",
        "authentication-key",
        "authentication-password",
        "cak",
        "eap-password",
        "encryption-password",
        "identity",
        "ipsec-secret",
        "key",
        "l2tp-secret",
        "management-protection-key",
        "md5-key",
        "mschapv2-password",
        "passphrase",
        "password",
        "pre-shared-key",
        "preshared-key",
        "private-key",
        "private-passphrase",
        "private-pre-shared-key",
        "psk",
        "secret",
        "shared-secret",
        "static-key-0",
        "static-key-1",
        "static-key-2",
        "static-key-3",
        "static-sta-private-key",
        "tcp-md5-key",
        "token",
        "wpa-pre-shared-key",
        "wpa2-pre-shared-key",
    },
)


class RouterOS:
    """MikroTik RouterOS 3 to 7 over SSH exec."""

    name: str = "routeros"
    secret_keys: frozenset[str] = SECRET_KEYS

    def commands(self, remembered: str | None) -> tuple[str, ...]:
        """Ask for secrets first, unless this router did not know the word last time."""
        return (PLAIN, SENSITIVE) if remembered == PLAIN else (SENSITIVE, PLAIN)

    def refused(self, reply: Reply) -> bool:
        """Tell whether another command is worth a try.

        RouterOS 6 answers `expected end of command (line 1 column 9)` on stdout, with exit status 0. A plain export of
        RouterOS 7 is no answer either: it hides the secrets (a router that was upgraded since we remembered).
        """
        if completeness.unknown_command(reply.stdout) or (
            not reply.stdout and completeness.unknown_command(reply.stderr)
        ):
            return True
        return reply.command == PLAIN and (completeness.major_version(reply.stdout) or 0) >= _SECRETS_HIDDEN_FROM

    def judge(self, reply: Reply) -> Completeness:
        """Judge an answer off the wire: the text, and how it ended."""
        if not reply.stdout.strip():
            return _empty(reply)
        judged = completeness.judge(reply.stdout)
        if isinstance(judged, Incomplete):
            return judged
        if not reply.stdout.endswith(b"\n"):
            return Incomplete(Reason.TRUNCATED, "the last line does not end")
        if reply.exit_status != 0 and not _any_status(completeness.major_version(reply.stdout)):
            says = "without an exit status" if reply.exit_status is None else f"with exit status {reply.exit_status}"
            return Incomplete(Reason.TRUNCATED, f"the command ended {says}")
        return judged

    def judge_file(self, raw: bytes) -> Completeness:
        """Judge an export from a file."""
        return completeness.judge(raw)

    def normalize(self, raw: RawConfig) -> NormalConfig:
        """Reduce an export to its normal form."""
        return normalize(raw)


def _any_status(major: int | None) -> bool:
    return major is not None and major < _SECRETS_HIDDEN_FROM


def _empty(reply: Reply) -> Completeness:
    if reply.stderr.strip():
        judged = completeness.judge(reply.stderr)
        return Incomplete(Reason.REJECTED, "an error and no output") if isinstance(judged, Complete) else judged
    if reply.exit_status == 0:
        return Incomplete(Reason.NOT_A_CONFIGURATION, "no output")
    return Incomplete(Reason.TRUNCATED, "the channel closed before any output")
