"""What simulated routers do, by the names of docs/hostile.md."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from backupflow.core.model import EndMark, Secrets, SecretsPolicy, Target
from backupflow.core.suspicion import Known
from backupflow.simulator import RouterSpec, SimulatedRouter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from backupflow.core.ledger import Assignment, Published

SHORT = timedelta(seconds=0.6)
MiB = 1024 * 1024
SEVEN, SIX = RouterSpec("r1"), RouterSpec("r1", version="6.49.7")
HEAD = b"# 2024-01-02 10:30:00 by RouterOS 7.14\r\n# software id = \r\n#\r\n"
NAG = (
    b"\r\n\r\n  MikroTik RouterOS 7.14\r\n\r\nDo you want to see the software license? [Y/n]: \r\nnote: the attic's\r\n"
)


@dataclass(frozen=True)
class Misbehaviour:
    """One router, what it does, and what is known of it before; nothing is what is not given."""

    does: Mapping[str, object] = field(default_factory=dict)  # fields of Behaviour
    spec: RouterSpec = SEVEN
    known: bool = False  # there is an accepted observation of it, from before it did that
    said_it_before: bool = False  # what it says now was kept aside the last time
    turns: Callable[[SimulatedRouter], object] | None = None  # what becomes of it after its key was pinned
    short: str = ""  # this step has little time
    target: Mapping[str, Any] = field(default_factory=dict)  # fields of Target
    work: Mapping[str, Any] = field(default_factory=dict)  # fields of Assignment
    secrets: Secrets = Secrets.SHOWN  # what a published one shows

    def assignment(self, plain: Assignment, before: Published | None, aside: Published | None) -> Assignment:
        """What the collector is told."""
        target: Target = replace(plain.target, **self.target)
        if self.short:
            target = replace(target, timeouts=replace(target.timeouts, **{self.short: SHORT}))
        known = Known(before.observed if before else None, aside.observed if aside else None)
        return replace(plain, target=target, **{"known": known, **self.work})


def _raw(text: bytes) -> dict[str, object]:
    return {"raw_export": text}


def cut(router: SimulatedRouter, share: float, before: int = 0) -> None:
    """End the channel as if all had been sent: between two items near a share of the export, or some bytes before."""
    text = router.text()
    found = len(b"2024-01-02 10:30:00 ")  # which the header has and the canonical text has not
    for line in text.splitlines(keepends=True):
        found += len(line)
        if found >= share * len(text) and line.startswith(b"add ") and not line.endswith(b"\\\r\n"):
            break
    router.behave(flapping=0, cut_after=found - before, cut_manner="channel")


HOSTILE_NAMES = replace(SEVEN, identity="\x1b]0;owned\x07<b>", remark="<script>alert(1)</script>\x1b[2J\N{SNOWMAN}")
MARKUP = replace(SEVEN, model="<img src=x onerror=alert(1)>" * 40, serial="<b>" * 200)
MARKED = {"end_mark": EndMark.REQUIRED}

MISBEHAVIOURS: Mapping[str, Misbehaviour] = {
    # -- the connection and the login
    "closed": Misbehaviour({"listening": False}),
    "mute-before-banner": Misbehaviour({"mute": "banner"}, short="banner"),
    "late-banner": Misbehaviour({"banner_delay": 60}, short="banner"),
    "endless-lines": Misbehaviour({"babble": "banner"}),
    "slow-endless-lines": Misbehaviour({"babble": "banner", "bytes_per_second": 840}, short="banner"),
    "reset-after-banner": Misbehaviour({"reset_at": "banner"}),
    "reset-after-kex": Misbehaviour({"reset_at": "kex"}),
    "reset-after-newkeys": Misbehaviour({"reset_at": "newkeys"}),
    "reset-at-login": Misbehaviour({"reset_at": "login"}),
    "reset-at-proof": Misbehaviour({"reset_at": "proof"}),
    "mute-after-handshake": Misbehaviour({"mute": "handshake"}, short="login"),
    "endless-messages": Misbehaviour({"babble": "login"}),
    "slow-endless-messages": Misbehaviour({"babble": "login", "bytes_per_second": 840}, short="login"),
    "slow-login": Misbehaviour({"login_delay": 60}, short="login"),
    "refused-login": Misbehaviour({"refuse_login": True}),
    "one-question": Misbehaviour({"login_methods": ["keyboard-interactive"]}),
    "other-key": Misbehaviour(turns=lambda router: router.change_key()),
    "lost-key-type": Misbehaviour(turns=lambda router: router.change_key("ecdsa")),
    "more-key-types": Misbehaviour(
        spec=replace(SEVEN, host_key_type="ecdsa"),
        turns=lambda router: (router.add_key("ed25519"), router.add_key("rsa")),
    ),
    "sha1-only": Misbehaviour({"legacy": True}, replace(SIX, host_key_type="rsa")),
    "sha1-allowed": Misbehaviour({"legacy": True}, replace(SIX, host_key_type="rsa"), target={"legacy_ssh": True}),
    "sha1-again": Misbehaviour(
        {"legacy": True}, replace(SIX, host_key_type="rsa"), target={"legacy_ssh": True, "spoke_modern": True}
    ),
    "sha1-again-other-key": Misbehaviour({"legacy": True}, SIX, target={"legacy_ssh": True, "spoke_modern": True}),
    "sha1-allowed-other-key": Misbehaviour({"legacy": True}, SIX, target={"legacy_ssh": True}),
    # -- the answer breaks off, or does not end
    "reset-after-channel": Misbehaviour({"reset_at": "channel"}),
    "reset-after-command": Misbehaviour({"reset_at": "command"}),
    "reset-in-mid-export": Misbehaviour({"cut_after": 3000, "cut_manner": "reset"}),
    "closed-in-mid-export": Misbehaviour({"cut_after": 3000, "cut_manner": "tcp"}),
    "cut-inside-a-line": Misbehaviour(turns=lambda router: cut(router, 0.5, before=3)),
    "cut-between-items-marked": Misbehaviour(turns=lambda router: cut(router, 0.8), known=True, work=MARKED),
    "cut-between-items-half": Misbehaviour(turns=lambda router: cut(router, 0.3), known=True),
    "lost-beyond-window": Misbehaviour({"loses_beyond_window": True}, replace(SEVEN, size=2_400_000)),
    "mute-after-command": Misbehaviour({"mute": "command"}, short="command"),
    "stall": Misbehaviour({"stall_after": 3000}, short="command"),
    "drip": Misbehaviour({"bytes_per_second": 2}, short="command"),
    "bomb": Misbehaviour({"export_size": 64 * MiB}),
    "exit-status": Misbehaviour({"exit_status": 1}),
    "no-exit-status": Misbehaviour({"exit_status": None}),
    "exit-status-of-6": Misbehaviour({"exit_status": 1}, SIX),
    # -- the answer is something else
    "nothing": Misbehaviour(_raw(b"")),
    "binary": Misbehaviour(_raw(bytes(range(256)) * 40)),
    "raw-controls": Misbehaviour(_raw(HEAD + b"/system identity\r\nset name=x\x07\x00\r\n")),
    "terminal-sequences": Misbehaviour(_raw(HEAD + b"/ppp secret\r\nadd name=\x1b[1mx password=y\x1b]0;own\x07\r\n")),
    "escapes-and-html": Misbehaviour(spec=HOSTILE_NAMES),
    "markup-in-header": Misbehaviour(spec=MARKUP),
    "conflict": Misbehaviour(_raw(HEAD + b"/ip dns\r\n<<<<<<< HEAD\r\nset servers=192.0.2.1\r\n")),
    "interrupted": Misbehaviour(_raw(HEAD + b"/ip dns\r\nset servers=192.0.2.1\r\n#interrupted\r\n")),
    "denied": Misbehaviour(_raw(b"not enough permissions (9)\r\n")),
    "words-before": Misbehaviour({"preface": NAG}),
    "no-semicolon": Misbehaviour({"end_mark": False}),
    "no-semicolon-any-more": Misbehaviour({"end_mark": False}, work=MARKED),
    "secrets-denied": Misbehaviour({"sensitive": False}, secrets=Secrets.HIDDEN),
    "secrets-left-out": Misbehaviour({"sensitive": False}, SIX, known=True, secrets=Secrets.HIDDEN),
    "secrets-omitted": Misbehaviour(work={"secrets": SecretsPolicy.OMIT}, secrets=Secrets.OMITTED),
    "shrunk": Misbehaviour({"shrunk": True}, known=True),
    "shrunk-twice": Misbehaviour({"shrunk": True}, known=True, said_it_before=True),
    "new-marker": Misbehaviour({"unexportable": ["/ip ssh"]}, known=True),
    "old-marker": Misbehaviour(
        spec=replace(SEVEN, behaviour=SEVEN.behaviour.changed({"unexportable": ["/ip ssh"]})), known=True
    ),
    "other-serial": Misbehaviour({"serial": "HZZ0SOMEONE"}, known=True),
}  # fmt: skip
