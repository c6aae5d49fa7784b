"""An address as a hook: a real server on the loopback that verifies, refuses, hangs, redirects, and breaks off."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from backupflow.adapters.hook import WebHook, add_secret, read_secrets, retire_secrets
from backupflow.core.event_body import trial_body, webhook_id
from backupflow.core.hook_target import Address, target
from backupflow.errors import Conflict, SettingsInvalid
from tests.integration.other_systems import certificate
from tests.integration.receiver import OK, Web, receiver, status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.receiver import Posted

EVENT = UUID(int=1)
BODY = trial_body(EVENT, datetime(2026, 11, 22, 8, tzinfo=UTC))


@pytest.fixture
def web() -> Iterator[Web]:
    """A receiver that takes everything."""
    with receiver() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the secret is."""
    add_secret(tmp_path)
    return tmp_path


def hook(url: str, folder: Path, ca_file: Path | None = None, seconds: float = 20.0) -> WebHook:
    """The adapter, as wiring makes it."""
    address = target(url)
    assert isinstance(address, Address)
    return WebHook(address, lambda: read_secrets(folder), ca_file, seconds)


def verified(posted: Posted, secret: str) -> bool:
    """By the specification, in a few lines of our own: HMAC-SHA-256 over `id.timestamp.body`."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{posted.headers['webhook-id']}.{posted.headers['webhook-timestamp']}.".encode() + posted.body
    wanted = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return f"v1,{wanted}" in posted.headers["webhook-signature"].split(" ")


def test_an_event_is_posted_as_it_is_and_signed(web: Web, folder: Path) -> None:
    """The library of the specification verifies it, and so does the specification's own text; one bit less does not."""
    answer = hook(web.url, folder).deliver(EVENT, BODY)
    assert (answer.delivered, answer.says) == (True, "HTTP 200")
    [posted] = web.posted
    [secret] = read_secrets(folder)
    assert posted.line == "POST /events?of=backupflow HTTP/1.1"
    assert posted.body == BODY.encode()
    assert posted.headers["content-type"] == "application/json"
    assert posted.headers["webhook-id"] == webhook_id(EVENT) == json.loads(posted.body)["id"]
    assert Webhook(secret).verify(posted.body, posted.headers) == json.loads(BODY)
    assert verified(posted, secret)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(posted.body.replace(b"test", b"tess", 1), posted.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + base64.b64encode(b"o" * 32).decode()).verify(posted.body, posted.headers)


def test_while_secrets_are_exchanged_both_verify(web: Web, folder: Path) -> None:
    """Two signatures, until the older secret is retired; a third secret is refused meanwhile."""
    [old] = read_secrets(folder)
    new = add_secret(folder)
    assert read_secrets(folder) == [new, old]
    with pytest.raises(Conflict):
        add_secret(folder)
    told = hook(web.url, folder)
    assert told.deliver(EVENT, BODY).delivered
    assert retire_secrets(folder) == 1
    assert retire_secrets(folder) == 0
    assert told.deliver(EVENT, BODY).delivered  # the same process: they are read anew each time
    during, after = web.posted
    for secret in (old, new):
        assert Webhook(secret).verify(during.body, during.headers)
    assert Webhook(new).verify(after.body, after.headers)
    assert not verified(after, old)


def test_the_secret_is_a_private_file_of_the_documented_form(folder: Path) -> None:
    """Readable by its owner only; 256 bits behind `whsec_`."""
    file = folder / "events.webhook"
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(base64.b64decode(file.read_text().strip().removeprefix("whsec_"), validate=True)) == 32
    assert [path.name for path in folder.iterdir()] == ["events.webhook"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter2",
        "whsec_hunter2",
        "whsec_AAAA",
        "whsec_ü",
        "whsec_%",
        "AAAA" * 8,
        "\n".join(["whsec_" + "A" * 44] * 3),
    ],
)
def test_a_secret_that_is_none_sends_nothing(web: Web, tmp_path: Path, text: str) -> None:
    """Nothing unsigned leaves, and what is said of it does not quote it."""
    (tmp_path / "events.webhook").write_text(text, "utf-8")
    answer = hook(web.url, tmp_path).deliver(EVENT, BODY)
    assert not answer.delivered
    assert "events.webhook" in answer.says
    assert web.connections == 0
    assert not text or text not in answer.says


def test_without_a_secret_it_says_how_to_make_one(web: Web, tmp_path: Path) -> None:
    """A receiver could not tell our events from anybody's."""
    with pytest.raises(SettingsInvalid):
        read_secrets(tmp_path)
    assert "`backupflow event secret`" in hook(web.url, tmp_path).deliver(EVENT, BODY).says
    assert web.connections == 0


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (status(204), (None, False, None)),
        (status(299), (None, False, None)),
        (status(500, text="a\x1b[2Jb token=hunter2"), ("HTTP 500: a [2Jb token=…", False, None)),
        (status(400), ("HTTP 400", False, None)),
        (status(410), ("HTTP 410", True, None)),
        (status(429, "Retry-After: 120"), ("HTTP 429", False, timedelta(seconds=120))),
        (status(503, "Retry-After: soon"), ("HTTP 503", False, None)),
        (status(503, "Retry-After: 99999999999999999"), ("HTTP 503", False, None)),
        (status(404, "Retry-After: 120"), ("HTTP 404", False, None)),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, (None, False, None)),
        (b"nonsense\r\n\r\n", ("the connection was refused, or broke off", False, None)),
        (b"", ("the connection was refused, or broke off", False, None)),
        (b"HTTP/1.1 2", ("the connection was refused, or broke off", False, None)),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200, ("the connection was refused, or broke off", False, None)),
    ],
)
def test_an_answer_says_what_follows(
    web: Web, folder: Path, answer: bytes, wanted: tuple[str | None, bool, timedelta | None]
) -> None:
    """2xx is taken; 410 wants no more of it; 429 and 503 may ask for a wait; whatever else is a failure."""
    web.answers = [answer]
    got = hook(web.url, folder).deliver(EVENT, BODY)
    assert (None if got.delivered else got.whole, got.gone, got.wait) == wanted


def test_a_date_to_wait_for_is_a_span(web: Web, folder: Path) -> None:
    """RFC 9110 allows both."""
    web.answers = [status(503, "Retry-After: Fri, 31 Dec 2060 23:59:59 GMT")]
    wait = hook(web.url, folder).deliver(EVENT, BODY).wait
    assert wait is not None
    assert wait > timedelta(days=1000)


def test_nothing_is_followed(web: Web, folder: Path) -> None:
    """A redirect would take the event, and a signature that is good for minutes, to somebody else."""
    with receiver() as elsewhere:
        for code in (301, 302, 307, 308):
            web.answers = [status(code, f"Location: {elsewhere.url}")]
            answer = hook(web.url, folder).deliver(EVENT, BODY)
            assert not answer.delivered
            assert answer.says.startswith(f"HTTP {code}: it sends elsewhere")
        assert elsewhere.connections == 0


def test_no_proxy_and_no_login_of_the_environment_counts(
    web: Web, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither is asked, whatever stands there by chance."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with receiver() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert hook(web.url, folder).deliver(EVENT, BODY).delivered
        assert proxy.connections == 0
    assert "authorization" not in web.posted[0].headers


def silence(connection: socket.socket) -> None:
    """Say nothing until the other side goes."""
    connection.recv(1)


def drip(connection: socket.socket) -> None:
    """A byte now and then, never a whole line."""
    while True:
        connection.sendall(b"H")
        time.sleep(0.05)


def drip_a_header(connection: socket.socket) -> None:
    """A good beginning, then a byte now and then."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
    drip(connection)


@pytest.mark.parametrize("answering", [silence, drip, drip_a_header])
def test_who_does_not_answer_in_time_is_left(web: Web, folder: Path, answering: object) -> None:
    """Neither silence nor a drip that no time-out between two bytes would ever end lasts longer than it may."""
    web.answers = [answering]  # type: ignore[list-item]
    answer = hook(web.url, folder, seconds=0.5).deliver(EVENT, BODY)
    assert (answer.delivered, answer.says) == (False, "it did not answer in time")
    assert threading.active_count() < 20


def test_a_body_without_end_delays_nothing(web: Web, folder: Path) -> None:
    """Its status has come: of an answer that is good nothing more is read, of another one its beginning."""

    def good(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        drip(connection)

    def bad(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 500 Word\r\n\r\n" + b"x" * 100_000)
        drip(connection)

    web.answers = [good, bad]
    assert hook(web.url, folder).deliver(EVENT, BODY).delivered
    answer = hook(web.url, folder, seconds=5.0).deliver(EVENT, BODY)
    assert (answer.delivered, answer.says, len(answer.whole) < 150) == (False, "HTTP 500", True)


def test_nobody_there_is_said_without_the_path(folder: Path) -> None:
    """Of some receivers the path is a secret."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    answer = hook(f"http://127.0.0.1:{port}/T000/secret", folder).deliver(EVENT, BODY)
    assert (answer.delivered, answer.says) == (False, "the connection was refused, or broke off")
    answer = hook("http://nobody.invalid/T000/secret", folder).deliver(EVENT, BODY)
    assert (answer.delivered, "secret" in answer.says) == (False, False)


def test_a_certificate_counts_only_with_its_authority(folder: Path, tmp_path: Path) -> None:
    """Over TLS, verified: without the authority nothing is sent, with it all is; and the deadline holds there too."""
    context, file = certificate(tmp_path)
    with receiver(context) as web:
        url = web.url.replace("http:", "https:")
        refused = hook(url, folder).deliver(EVENT, BODY)
        assert not refused.delivered
        assert refused.says.startswith("its certificate is not trusted")
        assert web.posted == []
        assert hook(url, folder, file).deliver(EVENT, BODY).delivered
        assert hook(url, folder, tmp_path / "none").deliver(EVENT, BODY).says.startswith("CONFIG_ON_EVENT_CA")
        web.answers = [drip]
        assert hook(url, folder, file, seconds=0.5).deliver(EVENT, BODY).says == "it did not answer in time"


def test_a_server_that_does_not_speak_tls_is_left(folder: Path) -> None:
    """Nothing is sent in the clear to an address that says https."""
    with receiver() as web:
        answer = hook(web.url.replace("http:", "https:"), folder, seconds=0.5).deliver(EVENT, BODY)
        assert not answer.delivered
        assert web.posted == []
