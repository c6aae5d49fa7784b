"""LibreNMS and NetBox: real servers on the loopback that answer well, badly, slowly, endlessly, and for another."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from backupflow.adapters.inventories import librenms, netbox
from backupflow.adapters.inventories.web import BoundedSession, server
from backupflow.cli.exits import Exit
from backupflow.core.syncing import Inventory, usable
from backupflow.errors import InputInvalid, InventoryUnavailable
from tests.integration.other_systems import (
    TOKEN,
    Answer,
    Asked,
    NetBox,
    bomb,
    certificate,
    netbox_device,
    running,
    said,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.scene import Scene

NODES = [
    {"hostname": "core-1", "os": "routeros", "ip": "192.0.2.1", "group": "north"},
    {"hostname": "core-2.example.net", "os": "RouterOS", "ip": "", "ssh_port": "2222", "telnet_port": 23},
    {"hostname": "cat-1", "os": "ios", "ip": "192.0.2.3"},
    {"hostname": "core-3", "os": "routeros", "ip": "192.0.2.4", "ssh_port": 0},
    {"os": "routeros"},
    "nonsense",
]


def nms(asked: Asked) -> Answer:
    """Answer as LibreNMS does."""
    if asked.headers.get("X-Auth-Token") != TOKEN:
        return said({"status": "error", "message": "API Token is missing or invalid"}, 401)
    return said(NODES) if asked.path == "/api/v0/oxidized" else said({"status": "error"}, 404)


def told(inventory: Inventory) -> str:
    """All that was left out."""
    return "\n".join(f"{it.where}: {it.says}" for it in inventory.leftovers)


@pytest.mark.parametrize("path", ["", "/", "/api/v0/oxidized"])
def test_librenms_says_name_address_port_and_group(path: str) -> None:
    """Of what is RouterOS; the rest is listed."""
    with running(nms) as other:
        inventory = usable(librenms.read(server(other.url + path, TOKEN)))
        assert inventory.source == f"librenms {other.url}"
    assert [(row.name, row.host, row.port, row.group) for row in inventory.wanted] == [
        ("core-1", "192.0.2.1", None, "north"),
        ("core-2.example.net", "core-2.example.net", 2222, None),
    ]
    assert inventory.held == {"core-3"}
    for words in ("1 of os ios", "with telnet_port", "ssh_port is no port", "2 that are no devices"):
        assert words in told(inventory)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (said({}, 401), "refuses the token (HTTP 401)"),
        (said({}, 403), "refuses the token (HTTP 403)"),
        (said({}, 404), "HTTP 404"),
        (said({"message": "secret detail"}, 500), "HTTP 500"),
        (Answer(200, b"<html>login</html>"), "not JSON"),
        (Answer(200, b"\xff\xfe\x00"), "not JSON"),
        (Answer(200, b"[" * 100_000), "not JSON"),
        (said({"status": "ok"}), "no list of devices"),
        (said([], 302, Location="http://127.0.0.2:9/api/v0/oxidized"), "a redirect"),
        (said(NODES, 301, Location="/api/v0/oxidized/"), "a redirect"),
        (Answer(200, b"[{", cut=True), "broke off"),
        (bomb(3_000_000), "more than 1000000 bytes"),
        (Answer(200, b" " * 1_500_000), "more than 1000000 bytes"),
        (Answer(200, b"[", drip=True), "longer than"),
        (Answer(200, b"no gzip", {"Content-Encoding": "gzip"}), "broke off"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_whatever_librenms_answers_is_read_whole_or_refused(answer: Answer, words: str) -> None:
    """In a bounded time and room; and it is never repeated what the answer said."""
    with running(lambda _: answer) as other:
        asked = replace(server(other.url, TOKEN), largest_answer=1_000_000, answer_seconds=0.5)
        with pytest.raises(InventoryUnavailable) as failed:
            librenms.read(asked)
        assert words in failed.value.detail
        assert "secret detail" not in str(failed.value)
        assert len(other.asked) == 1


def test_a_token_goes_to_the_named_server_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not over a proxy of the environment, not replaced by a .netrc, not to where a redirect or a next page leads."""
    with running(nms) as other, running(nms) as stranger:
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        monkeypatch.setenv("HTTP_PROXY", stranger.url)
        monkeypatch.setenv("http_proxy", stranger.url)
        assert librenms.read(server(other.url, TOKEN)).wanted
        assert [name for name in other.asked[0].headers if name.lower() == "authorization"] == []
        other.answer = lambda _: said([], 307, Location=f"{stranger.url}/api/v0/oxidized")
        with pytest.raises(InventoryUnavailable):
            librenms.read(server(other.url, TOKEN))
        other.answer = NetBox([netbox_device(number) for number in range(1, 1201)], elsewhere=stranger.url)
        assert len(netbox.read(server(other.url, TOKEN), netbox.Choice()).wanted) == 1200
        with BoundedSession(server(other.url, TOKEN)) as session, pytest.raises(InventoryUnavailable):
            session.get(stranger.url)
        assert stranger.asked == []


def test_a_certificate_counts_only_with_its_authority(tmp_path: Path) -> None:
    """Without it nothing is sent."""
    context, file = certificate(tmp_path)
    with running(nms, context) as other:
        with pytest.raises(InventoryUnavailable) as failed:
            librenms.read(server(other.url, TOKEN))
        assert "--ca-file" in failed.value.detail
        assert other.asked == []
        assert len(librenms.read(server(other.url, TOKEN, file)).wanted) == 2


def test_nobody_there_is_said() -> None:
    """No connection is no empty inventory."""
    with running(nms) as other:
        asked = server(other.url, TOKEN)
    with pytest.raises(InventoryUnavailable) as failed:
        librenms.read(asked)
    assert "no connection" in failed.value.detail


@pytest.mark.parametrize(
    ("url", "token", "words"),
    [
        ("netbox.example.net", TOKEN, "not an address"),
        ("ftp://netbox.example.net", TOKEN, "not an address"),
        ("https://", TOKEN, "not an address"),
        ("https://a:99999", TOKEN, "not an address"),
        ("https://a/?token=x", TOKEN, "not an address"),
        ("https://me:s3cret@a", TOKEN, "with a login in it"),
        ("http://netbox.example.net", TOKEN, "--plain-http"),
        ("https://a", "", "token"),
        ("https://a", "to ken", "token"),
        ("https://a", "t\r\nX: y", "token"),
    ],
)
def test_an_address_or_token_that_cannot_be_one_is_refused(url: str, token: str, words: str) -> None:
    """Before anything is asked; without the values."""
    with pytest.raises(InputInvalid) as failed:
        server(url, token)
    assert words in failed.value.detail
    assert "s3cret" not in str(failed.value)
    assert repr(server("https://a", TOKEN)).count(TOKEN) == 0


def netbox_of(*devices: dict[str, Any], choice: netbox.Choice | None = None) -> Inventory:
    """What is read of these devices."""
    with running(NetBox(list(devices))) as other:
        return usable(netbox.read(server(other.url, TOKEN), choice or netbox.Choice()))


def test_netbox_says_name_address_site_and_what_is_asked_for() -> None:
    """The primary address of the family that NetBox prefers; IPv6 too; the port of a custom field."""
    six = {"id": 9, "url": "", "address": "2001:db8::9/64"}
    inventory = netbox_of(
        netbox_device(1, tenant={"id": 1, "name": "Acme"}, custom_fields={"ssh": 2222}),
        netbox_device(2, primary_ip=six, primary_ip6=six, site=None, custom_fields={"ssh": None}),
        choice=netbox.Choice(group_from="tenant", port_field="ssh"),
    )
    assert [(row.name, row.host, row.port, row.site, row.group) for row in inventory.wanted] == [
        ("r1", "192.0.2.2", 2222, "North", "Acme"),
        ("r2", "2001:db8::9", None, None, None),
    ]


def test_netbox_has_more_than_routers_that_can_be_collected() -> None:
    """Each is told: another platform or status, no address, no name, a port that is none, a name that is there."""
    ios = {"id": 2, "name": "Cisco IOS", "slug": "ios"}
    swos = {"id": 3, "name": "MikroTik SwOS", "slug": "mikrotik-swos"}
    inventory = netbox_of(
        netbox_device(1, platform=ios),
        netbox_device(2, platform=swos),
        netbox_device(3, primary_ip=None, primary_ip4=None),
        netbox_device(4, name=""),
        netbox_device(5, status={"value": "offline"}),
        netbox_device(6, custom_fields={"ssh": "s3cret"}),
        netbox_device(7, platform=None),
        netbox_device(8, name="r7"),
        netbox_device(9, name="evil\x1b[2J"),
        netbox_device(10, tags=[{"id": 1, "name": "b", "slug": "b"}, {"id": 2, "name": "a", "slug": "a"}]),
        choice=netbox.Choice(group_from="tag", port_field="ssh"),
    )
    assert [(row.name, row.group) for row in inventory.wanted] == [("r7", None), ("r10", "a")]
    assert inventory.held >= {"r3", "r6", "r7"}
    words = told(inventory)
    for each in ("platform Cisco IOS", "SwOS", "without a primary address", "without a name", "of status offline",
                 "no port", "the same name as in device 7", "with several tags"):  # fmt: skip
        assert each in words, each
    assert "s3cret" not in words


def test_filters_are_those_of_netbox_and_may_say_all() -> None:
    """Repeated keys too; what pages are asked by is not to be said."""
    tagged = [{"id": 1, "name": "Backup", "slug": "backup"}, {"id": 2, "name": "Edge", "slug": "edge"}]
    devices = [netbox_device(1, tags=tagged, platform=None, device_type=None), netbox_device(2)]
    with running(NetBox(devices)) as other:
        asked = server(other.url, TOKEN)
        filters = {"tag": ("backup", "edge")}
        found = netbox.read(asked, netbox.Choice(filters, whatever_platform=True))
        assert [row.name for row in found.wanted] == ["r1"]
        assert other.asked[0].query["tag"] == ["backup", "edge"]
        assert netbox.read(asked, netbox.Choice(filters)).wanted == ()
        with pytest.raises(InputInvalid):
            netbox.read(asked, netbox.Choice({"offset": ("5",)}))


def test_all_pages_are_read_one_after_the_other(size: str) -> None:
    """Also where the server gives fewer at a time than are asked for; nothing is fetched for a single device."""
    devices = [netbox_device(number) for number in range(1, 1802 if size == "soak" else 402)]
    far: list[tuple[int, int]] = []
    with running(NetBox(devices, largest_page=100)) as other:
        inventory = netbox.read(server(other.url, TOKEN), netbox.Choice(), lambda *done: far.append(done))
        assert len(inventory.wanted) == len(devices)
        assert {asked.query["ordering"][0] for asked in other.asked} == {"id"}
        assert len(other.asked) == -(-len(devices) // 100)
    assert far[-1] == (len(devices), len(devices))


def test_a_list_that_changes_while_it_is_read_is_read_again() -> None:
    """A gap between two pages would look like a device that is gone; a list that never rests is refused."""
    devices = [netbox_device(number) for number in range(1, 251)]
    with running(NetBox(devices, largest_page=100, shrinks=1)) as other:
        assert len(netbox.read(server(other.url, TOKEN), netbox.Choice()).wanted) == 250
        other.answer = NetBox(devices, largest_page=100, shrinks=1000)
        with pytest.raises(InventoryUnavailable) as failed:
            netbox.read(server(other.url, TOKEN), netbox.Choice())
        assert "changes while it is read" in failed.value.detail


@pytest.mark.parametrize(
    "answer",
    [
        said({"count": 3, "next": None, "results": []}),
        said({"count": 1, "next": None, "results": [{"id": "x"}]}),
        said({"count": 1, "next": None, "results": ["device"]}),
        said({"count": None, "next": None, "results": []}),
        said({"results": [netbox_device(1)]}),
        said([1, 2]),
        said({"detail": "moved"}),
        said(7),
        said({"count": 10**9, "next": "x", "results": [netbox_device(1)]}),
        said({"count": 2, "next": None, "results": [netbox_device(1), netbox_device(1)]}),
        said({"count": 1, "next": None, "results": [netbox_device(1, url="http://[/", site={"url": 5})]}),
        Answer(200, b"<html>"),
        said({}, 500),
        said({}, 401),
        said([], 302, Location="https://other.invalid/"),
    ],
)
def test_whatever_netbox_answers_is_read_whole_or_refused(answer: Answer) -> None:
    """An answer that is none never looks like an empty inventory."""
    with running(lambda _: answer) as other, pytest.raises(InventoryUnavailable):
        netbox.read(server(other.url, TOKEN), netbox.Choice())


def test_a_record_is_never_asked_for_more() -> None:
    """Whatever is missing in one: pynetbox would fetch it from the address that the record names."""
    bare = {"id": 1, "url": "http://127.0.0.2:9/api/dcim/devices/1/", "name": "r1", "status": {"value": "active"}}
    with running(lambda _: said({"count": 1, "next": None, "results": [bare]})) as other:
        assert netbox.read(server(other.url, TOKEN), netbox.Choice(group_from="role")).wanted == ()
        assert len(other.asked) == 1


# --- by command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def token(tmp_path: Path) -> str:
    """A file with the token."""
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    return str(file)


def run(scene: Scene, tool: str, url: str, token: str, *more: str) -> tuple[int, dict[str, Any], str]:
    """Code, document, and what stood beside it."""
    ran = scene.run("inventory", "import", tool, url, "--token-file", token, "--json", *more)
    return ran.code, json.loads(ran.out) if ran.out else {}, ran.err


def test_librenms_is_kept_in_step_with(scene: Scene, token: str) -> None:
    """New devices get the profile that is named; one whose profile was changed here keeps that."""
    for name in ("core", "other"):
        scene.run("credential", "add", name, "--username", "u", "--password-stdin", stdin=b"s3cret\n")
    with running(nms) as other:
        code, said_first, err = run(scene, "librenms", other.url, token)
        assert code == Exit.WRONG, err
        assert "no login" in said_first["problems"][0]["says"]
        code, done, err = run(scene, "librenms", other.url, token, "--profile", "core")
        assert (code, done["counts"]["added"]) == (Exit.OK, 2), err
        assert scene.run("device", "edit", "core-1", "--profile", "other").code == Exit.OK
        code, again, err = run(scene, "librenms", other.url, token, "--profile", "core")
        assert (code, again["counts"]["changed"], again["counts"]["unchanged"]) == (Exit.OK, 0, 2), err


@pytest.mark.parametrize("answer", [said([]), said({"status": "error"}, 500), Answer(200, b"[{", cut=True)])
def test_a_broken_answer_pauses_nothing(scene: Scene, token: str, answer: Answer) -> None:
    """Neither an error nor an empty list, unless somebody says that the fleet is really gone."""
    scene.run("credential", "add", "core", "--username", "u", "--password-stdin", stdin=b"s3cret\n")
    with running(nms) as other:
        assert run(scene, "librenms", other.url, token, "--profile", "core")[0] == Exit.OK
        other.answer = lambda _: answer
        code, _, err = run(scene, "librenms", other.url, token)
        assert code in {Exit.REFUSED, Exit.UNAVAILABLE}, err
        assert {row.status for row in scene.rows("SELECT status FROM device")} == {"active"}


def test_netbox_by_command_makes_sites_and_shows_no_token(scene: Scene, token: str) -> None:
    """With its filters, its groups and its ports."""
    scene.run("credential", "add", "core", "--username", "u", "--password-stdin", stdin=b"s3cret\n")
    with running(NetBox([netbox_device(1, custom_fields={"ssh": 22}), netbox_device(2)])) as other:
        more = ("--profile", "core", "--group-from", "role", "--port-field", "ssh", "--filter", "status=active")
        code, done, err = run(scene, "netbox", other.url, token, *more)
        assert (code, done["counts"]["added"]) == (Exit.OK, 2), err
        assert {(it["kind"], it["name"]) for it in done["made"]} == {("site", "North"), ("group", "Edge")}
        assert other.asked[0].query["status"] == ["active"]
        wrong = scene.run("inventory", "import", "netbox", other.url + "/wrong", "--token-file", token)
        assert wrong.code == Exit.UNAVAILABLE
        assert TOKEN not in err + wrong.err + str(done) + str(scene.rows("SELECT detail FROM audit"))
        assert scene.run("inventory", "import", "netbox", other.url).code == Exit.USAGE
    code, _, err = run(scene, "netbox", "http://192.0.2.1", token)
    assert (code, "--plain-http" in err) == (Exit.DATA, True)
