"""A router whose edits are marked, secrets apart from the rest, and all that people are shown of them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.acceptance.install import Install, wait_for
from tests.acceptance.marked_install import private
from tests.conftest import SIZE

if TYPE_CHECKING:
    from pathlib import Path

    from backupflow.simulator import Fleet
    from tests.acceptance.search import Markers

EDITED = "commented"
INTERPRETED = """
    SELECT i.kind, i.changes, i.ignored FROM interpretation i JOIN device d ON d.id = i.device_id
    WHERE d.name = :name ORDER BY i.seq"""
# Where a secret may stand in an export, and be another after an edit.
SECRETS = {
    "ppp": '/ppp secret\nadd name=u password="{}" service=any\n',
    "wifi": "/interface wifi\nset [ find default-name=wifi1 ] configuration.ssid=lan security.passphrase={}\n",
    "wireguard": '/interface wireguard\nadd listen-port=13231 name=wg1 private-key="{}="\n',
    "peer": '/interface wireguard peers\nadd allowed-address=10.0.0.2/32 interface=wg1 preshared-key="{}"\n',
    "snmp": "/snmp community\nset [ find default=yes ] name={}\n",
    "trap": "/snmp\nset enabled=yes trap-community={}\n",
    "ipsec": "/ip ipsec identity\nadd peer=hq secret={}\n",
    "radius": "/radius\nadd address=192.0.2.9 secret={} service=login\n",
    "script": '/system script\nadd name=up source="/tool fetch url=ftp://192.0.2.4 user=u password={}\\r\\n"\n',
    "variable": '/system scheduler\nadd interval=1d name=n on-event=":local password \\"{}\\"\\r\\n"\n',
    "token": "/container envs\nadd key=API_TOKEN name=e value={}\n",
}
TEXTS = {
    "rule": '/ip firewall filter\nadd action=accept chain=input comment="{}" src-address={}\n',
    "note": '/system note\nset note="{}"\n',
}
# What the router says of who did it holds secrets as well, in other words.
LOG = (
    "Flags: U - undoable, R - redoable, F - floating-undo\r\n"
    " U redo=/ppp/secret/set *1 password={} undo=/ppp/secret/set *1 password={}\r\n"
    '   action="ppp secret changed" by="anna" policy=write time=2026-01-02 03:04:00\r\n'
)


def export(secrets: dict[str, str], texts: dict[str, str], source: str) -> str:
    """A whole one."""
    parts = [SECRETS[name].format(secret) for name, secret in secrets.items()]
    parts += [TEXTS["rule"].format(texts["rule"], source), TEXTS["note"].format(texts["note"])]
    header = "# 2026-01-02 03:04:05 by RouterOS 7.14\n# software id = ABCD-EFGH\n"
    return (header + "".join(parts)).replace("\n", "\r\n")


def edits(install: Install, fleet: Fleet, markers: Markers, texts: Markers, given: Path) -> None:
    """Twice all that is marked becomes another; one property of it is ignored."""
    install.command("ignore", "add", "--device", EDITED, "system/note:note")
    install.command("device", "edit", EDITED, "--who")
    rule = texts.make("rule")
    for number, source in enumerate(("10.0.0.0/8", "10.1.0.0/16", "10.2.0.0/16")):
        secrets = {name: markers.make(f"edit {number}: {name}") for name in SECRETS}
        said = {"rule": rule, "note": texts.make(f"edit {number}: note")}
        (given / f"edit-{number}.json").write_text(json.dumps({**secrets, **said}))
        log = LOG.format(markers.make(f"edit {number}: redo"), markers.make(f"edit {number}: undo")).encode()
        fleet[EDITED].behave(raw_export=export(secrets, said, source), edit_log=log)
        install.forget_meetings()
        believed(install)
        wanted = number + 2  # and the one of before
        wait_for(lambda wanted=wanted: len(interpreted(install)) == wanted, "an interpretation of the edit", 60)  # type: ignore[misc]


def believed(install: Install) -> None:
    """The first one is another configuration altogether, which is in doubt until somebody believes it."""
    if install.collected(EDITED) != "stored":
        install.forget_meetings()
        install.command("device", "believe", EDITED)
        install.forget_meetings()
        assert install.collected(EDITED) == "stored"


def interpreted(install: Install) -> list[tuple[str, int, int]]:
    """What is recorded of the edits: the kind, the changes, and those that are ignored."""
    return [(row.kind, row.changes, row.ignored) for row in install.rows(INTERPRETED, name=EDITED)]


def looks(install: Install, given: Path) -> None:
    """What people ask of it: masked, and once revealed, into files that are theirs."""
    known = json.loads((given / "edit-2.json").read_text())
    secret, text = private(given / "a-secret", known["ppp"]), private(given / "a-text", known["rule"])
    masked = [
        ("history", EDITED),
        ("history", "--all", "--since", "1d", "--json"),
        ("diff", EDITED),
        ("diff", EDITED, "--with", "plain"),
        ("show", EDITED),
        ("search", "--all", "--json", "--pattern-file", str(text)),
        ("search", "--pattern-file", str(secret)),
    ]
    if SIZE == "soak":
        masked += [
            ("history", EDITED, "--json"),
            ("diff", EDITED, "--side-by-side"),
            ("ignore", "suggest", "--device", EDITED),
            ("diff", EDITED, "--json"),
            ("diff", EDITED, "--stat"),
            ("show", EDITED, "--json"),
            ("search", "--pattern-file", str(text)),
            ("ignore", "list"),
            ("runs", EDITED),
            ("event", "list"),
        ]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda argv: install.command(*argv, check=False), masked))
    revealed = {
        "history": ("history", EDITED, "--reveal"),
        "diff": ("diff", EDITED, "--reveal"),
        "show": ("show", EDITED, "--reveal"),
        "search": ("search", "--reveal", "--pattern-file", str(secret)),
    }
    for name, argv in revealed.items():
        stdout, _ = install.begin(*argv).communicate(timeout=60)
        private(given / f"revealed-{name}", stdout.decode())
