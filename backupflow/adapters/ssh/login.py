"""One login, one attempt: what a device may count against an account or an address is sent once."""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from backupflow.adapters.ssh.algorithms import listed
from backupflow.adapters.ssh.transport import BROKEN
from backupflow.adapters.ssh.userauth import LoginHandler
from backupflow.errors import AuthenticationFailed, DeviceUnreachable, LoginUnusable

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.adapters.ssh.transport import Transport
    from backupflow.core.model import Login

_PUBLIC_NAMES = ("ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-", "---- BEGIN SSH2 PUBLIC KEY")


def authenticate(transport: Transport, login: Login) -> None:
    """Log in once, by key if the login has one, else by password.

    Raises AuthenticationFailed if that is not accepted, also when the server hangs up on it without a word: it may
    have counted a failure, and each repetition could be the one that locks the account (I7). DeviceUnreachable if the
    connection broke before the secret was sent, or the network did.
    """
    handler = LoginHandler(transport)
    transport.auth_handler = handler
    try:
        if login.private_key is not None:
            _by_key(transport, handler, login)
        else:
            _by_password(handler, login)
    except paramiko.BadAuthenticationType as exc:
        raise _not_offered(exc.allowed_types) from None
    except UnicodeEncodeError:
        raise AuthenticationFailed("the login has characters that cannot be sent") from None
    except BROKEN:
        if handler.refused or (transport.disconnected and handler.sent):
            raise AuthenticationFailed(handler.refused) from None
        if handler.sent and not transport.network_gone:
            raise AuthenticationFailed("the device hung up on the login") from None
        raise DeviceUnreachable("the connection broke during the login") from None
    finally:
        handler.password = handler.private_key = handler.interactive_handler = None


def _by_key(transport: Transport, handler: LoginHandler, login: Login) -> None:
    key = private_key(login.private_key or "", login.passphrase)
    transport.prefer_rsa_like_the_host_key()
    _ask(handler, lambda event: handler.auth_publickey(login.username, key, event))


def _by_password(handler: LoginHandler, login: Login) -> None:
    """Learn first which methods there are: a password sent to a server that does not take one counts as a failure.

    The query `none` does not count (RFC 4252, section 5.2; every OpenSSH client begins with it). OpenSSH logs and
    counts a password that is offered where only keyboard-interactive is allowed, and may hang up then (MaxAuthTries).
    """
    try:
        _ask(handler, lambda event: handler.auth_none(login.username, event))
    except paramiko.BadAuthenticationType as exc:
        methods = exc.allowed_types
    else:
        return  # an account without a password
    password = login.password or ""
    if "password" in methods:
        _ask(handler, lambda event: handler.auth_password(login.username, password, event))
    elif "keyboard-interactive" in methods:
        answer = _one_hidden_answer(handler, password)
        _ask(handler, lambda event: handler.auth_interactive(login.username, answer, event))
    else:
        raise _not_offered(methods)


def _not_offered(methods: list[str]) -> AuthenticationFailed:
    return AuthenticationFailed(f"this kind of login is not taken; offered: {listed(methods)}")


def _ask(handler: LoginHandler, send: Callable[[threading.Event], None]) -> None:
    answered = threading.Event()
    send(answered)
    missing = handler.wait_for_response(answered)
    if missing:
        raise AuthenticationFailed(f"a second factor is asked for: {listed(missing)}")


def _one_hidden_answer(handler: LoginHandler, password: str) -> Callable[[str, str, list[tuple[str, bool]]], list[str]]:
    """Answer one prompt that does not echo, once (RFC 4256): anything else is not the question for a password."""
    left = [password]

    def answer(_title: str, _instructions: str, prompts: list[tuple[str, bool]]) -> list[str]:
        if not prompts:
            return []
        if len(prompts) > 1 or prompts[0][1] or not left:
            handler.refused = "it asks for something else than one password"
            raise paramiko.AuthenticationException(handler.refused)
        handler.sent = True
        return [left.pop()]

    return answer


def private_key(text: str, passphrase: str | None) -> paramiko.PKey:
    """Open an RSA, ECDSA or Ed25519 key, PEM (PKCS#1, SEC 1, PKCS#8) or OpenSSH; raises LoginUnusable."""
    secret = passphrase.encode() if passphrase else None
    load = serialization.load_ssh_private_key if "BEGIN OPENSSH" in text else serialization.load_pem_private_key
    try:
        key = load(text.encode(), secret)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise LoginUnusable(_why_not(text, passphrase, lock_differs=isinstance(exc, TypeError))) from None
    for kind, opened in (
        (rsa.RSAPrivateKey, paramiko.RSAKey),
        (ec.EllipticCurvePrivateKey, paramiko.ECDSAKey),
        (ed25519.Ed25519PrivateKey, paramiko.Ed25519Key),
    ):
        if isinstance(key, kind):
            plain = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
            )
            return opened.from_private_key(io.StringIO(plain.decode()))
    raise LoginUnusable("the private key is of a type that is not supported: RSA, ECDSA and Ed25519 are")


def is_public(text: str) -> bool:
    """Whether it is a public key, as `ssh-keygen` or `openssl` writes it."""
    first = text.lstrip().partition("\n")[0]
    return first.startswith(_PUBLIC_NAMES) or ("BEGIN" in first and "PUBLIC KEY-----" in first)


def _why_not(text: str, passphrase: str | None, *, lock_differs: bool) -> str:
    """What it is instead, never a word of it. `lock_differs`: of key and call only one has a passphrase."""
    if is_public(text):
        return "a public key, not a private one"
    if "PRIVATE KEY-----" not in text:
        return "not a private key"
    if lock_differs:
        return (
            "the private key has no passphrase, and one is given"
            if passphrase
            else "the private key needs its passphrase"
        )
    return f"the private key {'does not open with its passphrase' if passphrase else 'is damaged'}"
