"""The question that a shared password raises: asked once, answered by `manual` where nobody can be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import typer

from backupflow.cli import session
from backupflow.cli.trust_question import settle_trust
from backupflow.core.model import Trust
from backupflow.core.trust import MOST_UNASKED
from tests.integration.scene import Stdin

if TYPE_CHECKING:
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


OTHERS = """
    WITH keyed AS (SELECT tenant_id, id FROM credential_profile WHERE name = 'keyed'),
        said AS (UPDATE tenant SET credential_profile_id = keyed.id FROM keyed WHERE tenant.id = keyed.tenant_id),
        g AS (INSERT INTO device_group (tenant_id, name) SELECT tenant_id, 'g' FROM keyed RETURNING id, tenant_id),
        e AS (INSERT INTO device_group (tenant_id, name, credential_profile_id)
            SELECT tenant_id, 'e', id FROM credential_profile WHERE name = 'edge'),
        s AS (INSERT INTO site (tenant_id, name) SELECT tenant_id, 's' FROM keyed RETURNING id),
        two AS (INSERT INTO device (tenant_id, name, host, device_group_id, site_id)
            SELECT g.tenant_id, v.name, v.name, g.id, s.id FROM g, s, (VALUES ('x'), ('y'), ('z')) AS v (name)
            RETURNING id, tenant_id, name)
    INSERT INTO credential_profile (tenant_id, device_id, username, method, sealed)
    SELECT tenant_id, id, 'u', 'password', 'vault:v1:x' FROM two WHERE name = 'y'"""


@pytest.mark.parametrize(
    ("command", "devices"),
    [
        ("site edit s --profile edge", 21),
        ("group edit g --profile edge", 21),
        ("tenant edit default --profile edge", 21),
        ("device edit x --profile edge", 20),
        ("device edit x --group e", 20),
        ("device edit x --site north", 20),
        ("device edit y --forget-login --group e", 20),
        ("device edit y --profile edge", 20),
        ("device edit --where name~[xz] --site north --yes", 21),
        ("device edit --where name~[rx] --profile edge --yes", 20),
    ],
)
def test_every_way_to_share_a_password_asks_first(scene: Scene, command: str, devices: int) -> None:
    """Counted with all that would use it then, and answered before anything is written."""
    scene.write("enroller", PROFILES)
    scene.write("enroller", SHARING)
    scene.write("enroller", OTHERS)
    if devices == MOST_UNASKED:
        more = "INSERT INTO device (tenant_id, name, host, site_id) SELECT tenant_id, 'm', 'm', id FROM site"
        scene.write("enroller", f"{more} WHERE name = 'north'")
        devices += 1
    ran = scene.run(*command.split(" "))
    assert ran.code == 0, ran.err
    assert f"{devices} devices share the password of the profile edge" in ran.err
    assert told(scene)["edge"] == "manual"
    rows = [row.action for row in scene.rows("SELECT action FROM audit ORDER BY id")]
    assert (rows[0], rows.count("credential_trust_settled")) == ("credential_trust_settled", 1)
    assert len(rows) > 1


@pytest.mark.parametrize("said", [(), ("--trust", "tofu")])
def test_a_key_that_gives_way_to_a_password_asks_too(scene: Scene, said: tuple[str, ...]) -> None:
    """Unless the same command says what first keys are worth."""
    scene.write("enroller", PROFILES)
    scene.write("enroller", SHARING)
    statement = "UPDATE site SET credential_profile_id = (SELECT id FROM credential_profile WHERE name = 'keyed')"
    scene.write("enroller", statement)
    two = "INSERT INTO device (tenant_id, name, host, site_id) SELECT tenant_id, v.n, v.n, id FROM site, "
    scene.write("enroller", two + "(VALUES ('a'), ('b')) AS v (n)")
    ran = scene.run("credential", "edit", "keyed", "--password-stdin", *said, stdin=b"s3cret")
    assert ran.code == 0, ran.err
    assert ("21 devices share the password of the profile keyed" in ran.err) is not bool(said)
    assert told(scene)["keyed"] == ("tofu" if said else "manual")


@pytest.mark.parametrize(
    "command", ["device edit x --interval 1h", "device edit r3 --group g", "site edit north --jump="]
)
def test_who_comes_to_no_other_login_is_asked_nothing(scene: Scene, command: str) -> None:
    """However many share it already: what was never asked is not asked by the way."""
    scene.write("enroller", PROFILES)
    scene.write("enroller", SHARING)
    scene.write("enroller", OTHERS)
    more = "INSERT INTO device (tenant_id, name, host, site_id) SELECT tenant_id, v.n, v.n, id FROM site, "
    scene.write("enroller", more + "(VALUES ('a'), ('b')) AS v (n) WHERE name = 'north'")
    ran = scene.run(*command.split(" "))
    assert (ran.code, ran.err) == (0, "")
    assert told(scene)["edge"] is None
