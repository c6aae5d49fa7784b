"""The question that a shared password raises: asked once, answered by `manual` where nobody can be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from backupflow.cli import session
from backupflow.cli.trust_question import settle_trust
from backupflow.core.model import Trust
from tests.integration.scene import Stdin

if TYPE_CHECKING:
    import pytest

    from tests.integration.scene import Scene

PROFILES = """
    INSERT INTO credential_profile (tenant_id, name, username, method, sealed, settings)
    SELECT id, v.name, 'backup', v.method, 'vault:v1:x', CAST(v.settings AS jsonb) FROM tenant, (VALUES
        ('edge', 'password', '{}'), ('keyed', 'key', '{}'), ('said', 'password', '{"trust": "tofu"}'))
        AS v (name, method, settings) WHERE tenant.name = 'default'"""
SHARING = """
    WITH north AS (INSERT INTO site (tenant_id, name, credential_profile_id)
        SELECT tenant_id, 'north', id FROM credential_profile WHERE name = 'edge' RETURNING id, tenant_id)
    INSERT INTO device (tenant_id, name, host, site_id, status)
    SELECT tenant_id, 'r' || n, 'r' || n, id, CASE n WHEN 1 THEN 'removed' WHEN 2 THEN 'paused' ELSE 'active' END
    FROM north, generate_series(1, 20) AS n"""


def told(scene: Scene) -> dict[str, str | None]:
    """What each profile says."""
    rows = scene.rows("SELECT name, settings ->> 'trust' AS trust FROM credential_profile WHERE name IS NOT NULL")
    return {row.name: row.trust for row in rows}


def test_without_a_terminal_first_keys_wait(scene: Scene) -> None:
    """Through the site they share one password: 19 and 2 more are past the number. Said once, written down once."""
    session.begin(None)
    scene.write("enroller", PROFILES)
    scene.write("enroller", SHARING)
    scene.monkeypatch.setattr("sys.stdin", Stdin(b"tofu\n"))
    tenant_id = session.wiring().devices("enroller").tenant("default")
    assert settle_trust(tenant_id, {"edge": 1}) == {}
    assert told(scene) == {"edge": None, "keyed": None, "said": "tofu"}
    scene.capture.readouterr()
    assert settle_trust(tenant_id, {"edge": 2, "keyed": 50, "said": 50, "nowhere": 50}) == {"edge": Trust.MANUAL}
    err = scene.capture.readouterr().err.decode()
    assert "21 devices share the password of the profile edge" in err
    assert "`hostkey approve --file FILE`" in err
    assert told(scene) == {"edge": "manual", "keyed": None, "said": "tofu"}
    assert settle_trust(tenant_id, {"edge": 2}) == {}
    (act,) = scene.rows("SELECT actor, detail FROM audit WHERE action = 'credential_trust_settled'")
    assert act.detail == {"profile": "edge", "trust": "manual", "devices": 21}
    assert act.actor.startswith("cli:")
    session.end()


def test_at_a_terminal_the_answer_is_written_on_the_profile(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked again until it is one of both; what somebody else has said meanwhile stays."""
    session.begin(None)
    scene.write("enroller", PROFILES)
    tenant_id = session.wiring().devices("enroller").tenant("default")
    answers, asked = ["", "yes", " TOFU "], list[str]()

    def prompt(question: str, **_: object) -> str:
        asked.append(question)
        return answers.pop(0)

    monkeypatch.setattr("sys.stdin", Stdin(b""))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr(typer, "prompt", prompt)
    assert settle_trust(tenant_id, {"edge": 1742}) == {"edge": Trust.TOFU}
    assert asked[0].startswith("1,742 devices share one password")
    assert len(asked) == 3
    assert told(scene)["edge"] == "tofu"
    store = session.wiring().trust("enroller")
    assert store.settle(tenant_id, "edge", Trust.MANUAL, 1800, "cli:other") is Trust.TOFU
    assert told(scene)["edge"] == "tofu"
    session.end()
