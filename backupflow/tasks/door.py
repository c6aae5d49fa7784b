"""The front door of Flower: asks for the login, lets pass what core.front_door lets, and hardens every answer.

Flower brings handlers with rights of their own; here each request is judged before one of them is chosen, so that a
handler which asks nobody (/metrics, /healthcheck, what is served as static) is behind the login too, or not there.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import flower
from flower.app import Flower
from flower.urls import settings as flower_settings
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.template import Template
from tornado.web import OutputTransform, RequestHandler

from backupflow import telemetry
from backupflow.core import front_door
from backupflow.core.front_door import NO_LOGIN, Decision, WrongLogins

if TYPE_CHECKING:
    from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, HTTPServerRequest

_PACKAGE: Final = Path(flower.__file__).parent
_SCRIPT: Final = "/static/js/flower.js"
_LIMITS: Final = {  # bytes and seconds: whoever knocks without a login costs next to nothing
    "max_header_size": 32 * 1024,
    "max_body_size": 32 * 1024,
    "idle_connection_timeout": 75.0,
    "body_timeout": 10.0,
}
_POSTED = re.compile(r"type: 'POST',(?=\s+url: url_prefix\(\) \+ '/tasks/datatable')")
_INLINE = re.compile(r"<script\b(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL)


class Door(Flower):
    """Flower behind one login."""

    def __init__(self, password: str, *, write: bool, **about: Any) -> None:
        self._password = password
        self._write = write
        self._wrong = WrongLogins()
        about |= flower_settings | {"xsrf_cookie_kwargs": {"samesite": "Strict"}}
        super().__init__(transforms=[Hardened], **about)

    def listen_on(self, host: str, port: int) -> int:
        """Take requests there; the port that was taken."""
        sockets = bind_sockets(port, address=host)
        HTTPServer(self, xheaders=False, **_LIMITS).add_sockets(sockets)
        return int(sockets[0].getsockname()[1])

    def find_handler(self, request: HTTPServerRequest, **about: Any) -> HTTPMessageDelegate:
        """Flower's handler, or one that refuses."""
        decision = self._judge(request)
        if not decision.passes:
            if request.method not in RequestHandler.SUPPORTED_METHODS:
                request.method = "GET"  # an unknown word is refused in the same way
            refused: HTTPMessageDelegate = self.get_handler_delegate(request, Refused, {"decision": decision})
            return refused
        if request.method not in {"GET", "HEAD"}:
            telemetry.logger().warning(telemetry.FLOWER_COMMANDED, path=request.path, peer=request.remote_ip)
        found: HTTPMessageDelegate = (
            self.get_handler_delegate(request, Script)
            if request.path == _SCRIPT
            else super().find_handler(request, **about)
        )
        return found

    def _judge(self, request: HTTPServerRequest) -> Decision:
        given = request.headers.get("Authorization")
        if not front_door.is_login(given, self._password):
            if given and (told := self._wrong.came(str(request.remote_ip), time.monotonic())):
                telemetry.logger().warning(telemetry.FLOWER_LOGIN_REFUSED, peer=told[0], times=told[1])
            return NO_LOGIN
        return front_door.decide(request.method or "", request.path, write=self._write)

    def log_request(self, handler: RequestHandler) -> None:
        """Nothing: pages ask every second, and an address may hold what somebody searched for."""


class Refused(RequestHandler):
    """Says no, whatever the method."""

    def initialize(self, decision: Decision) -> None:
        """Why."""
        self._decision = decision

    def check_xsrf_cookie(self) -> None:
        """It is refused anyway."""

    def prepare(self) -> None:
        """Answer before any method is called."""
        self.set_status(self._decision.status)
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        if self._decision is NO_LOGIN:
            self.set_header("WWW-Authenticate", 'Basic realm="backupflow", charset="UTF-8"')
        self.finish(f"{self._decision.why}\n")


class Script(RequestHandler):
    """Flower's own script, which asks for its list of tasks by POST; by GET it gets the same."""

    def get(self) -> None:
        """The script."""
        self.set_header("Content-Type", "text/javascript; charset=UTF-8")
        self.finish(script())


def script() -> str:
    """Flower's script with that one word changed."""
    return _POSTED.sub("type: 'GET',", (_PACKAGE / "static/js/flower.js").read_text("utf-8"))


class Hardened(OutputTransform):
    """The headers of every answer: no script but Flower's own, in no frame, kept by nobody."""

    def transform_first_chunk(
        self,
        status_code: int,
        headers: HTTPHeaders,
        chunk: bytes,
        finishing: bool,  # noqa: ARG002, FBT001 - tornado's
    ) -> tuple[int, HTTPHeaders, bytes]:
        """Set them."""
        headers["Content-Security-Policy"] = POLICY
        headers["X-Frame-Options"] = "DENY"
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        headers.setdefault("Cache-Control", "no-store")
        headers.pop("Server", None)
        return status_code, headers, chunk


def _policy() -> str:
    """The one script that stands inside a page (whether it refreshes itself) is let by its hash."""
    page = (_PACKAGE / "templates/workers.html").read_text("utf-8")
    inline = [Template(part, whitespace="single").generate(autorefresh=1) for part in _INLINE.findall(page)]
    let = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(part).digest()).decode()}'" for part in inline)
    return (
        f"default-src 'none'; script-src 'self' {let}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


POLICY: Final = _policy()
