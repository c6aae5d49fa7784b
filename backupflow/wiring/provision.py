"""Set-up of the four servers: the same least-privilege roles everywhere, whoever runs the server.

What is there and works stays: every step can be run again at any time, and after a crash in its middle.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupflow.core.tls import refusal
from backupflow.errors import SettingsInvalid, StoreUnavailable
from backupflow.wiring import DEFAULT_TENANT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg

    from backupflow.adapters.vault import AppRoleLogin, TokenLogin
    from backupflow.wiring import Wiring

# The roles that log in to each server, each with a file `<role>.<server>`. OpenBao's are made by the server itself.
# `poller` is nobody of ours: the login of a program that says which devices are online (docs/presence.md).
REDIS_ROLES = ("scheduler", "collector", "ingester", "interpreter", "operator", "flower", "poller")
NATS_ROLES = ("scheduler", "collector", "ingester", "operator")
FLOWER_LOGIN = "flower.web"  # no server's: the password of the page on which Celery is watched


@dataclass(frozen=True, slots=True)
class ServerUsers:
    """The users of the two servers that are told them by a file."""

    redis: str  # lines of an ACL file
    nats: str  # a piece of the configuration


def server_users(secret: Callable[[str], str]) -> ServerUsers:
    """The users and what each may do; `secret` gives the password of a `<role>.<server>`, and makes it if needed."""
    from backupflow.adapters.broker import acl_text
    from backupflow.adapters.bus_roles import users_config

    return ServerUsers(
        acl_text({role: secret(f"{role}.redis") for role in REDIS_ROLES}),
        users_config({role: secret(f"{role}.nats") for role in NATS_ROLES}),
    )


def set_up(wiring: Wiring, secret: Callable[[str], str], say: Callable[[str], None], token: str = "") -> None:
    """Make roles, schema, keys and stream; `say` is told each step before it is begun.

    `token` is an admin's, for an OpenBao that is not ours: it is used only where no installer login is there yet.
    """
    secret(FLOWER_LOGIN)
    say("PostgreSQL: roles")
    make_postgres_roles(wiring, secret)
    say("PostgreSQL: schema")
    revision = wiring.migrate()
    say(f"PostgreSQL: schema {revision}")
    say("OpenBao: keys and roles")
    make_vault_roles(wiring, say, token)
    wiring.make_tenant(DEFAULT_TENANT)
    say("NATS: stream")
    wiring.bus("ingester").make_sure()


def make_postgres_roles(wiring: Wiring, secret: Callable[[str], str]) -> None:
    """With the admin login, if it is there; without it the roles of an earlier set-up must do."""
    from sqlalchemy import make_url

    from backupflow.adapters.db.roles import ROLES, make_roles

    if not (wiring.settings.servers.secrets_dir / "admin.postgres").exists():
        wiring.secret("migrator", "postgres")  # says which file is missing, if there never was a set-up
        return
    passwords = {role: secret(f"{role}.postgres") for role in ROLES}
    with postgres_admin(wiring) as admin:
        make_roles(admin, make_url(wiring.settings.servers.database_url).database or "backupflow", passwords)


@contextmanager
def postgres_admin(wiring: Wiring, database: str = "postgres") -> Iterator[psycopg.Connection]:
    """PostgreSQL with the admin login; SettingsInvalid without one, StoreUnavailable if it is not accepted."""
    import psycopg
    from sqlalchemy import make_url

    url = make_url(wiring.settings.servers.database_url)
    user, _, password = wiring.secret("admin", "postgres").rpartition(":")
    asked = {name: str(value) for name, value in url.query.items()} | wiring.postgres_options
    where = psycopg.conninfo.make_conninfo(host=url.host, port=url.port, user=user or "admin", dbname=database, **asked)
    try:
        connection = psycopg.connect(where, password=password, autocommit=True)
    except psycopg.OperationalError as exc:
        if refused := refusal(str(exc)):
            raise StoreUnavailable(refused) from exc
        raise StoreUnavailable(f"the admin login in admin.postgres was not accepted, or nobody answers: {url}") from exc
    with connection:
        yield connection


def make_vault_roles(wiring: Wiring, say: Callable[[str], None], token: str = "") -> None:
    """Mount, policies and roles, and each role's login in its file."""
    from backupflow.adapters.vault import Vault
    from backupflow.adapters.vault_roles import provision

    vault = Vault(wiring.settings.servers.openbao_addr, _vault_login(wiring, say, token), ca=wiring.vault_ca)
    try:
        provision(vault, wiring.settings.servers.secrets_dir)
    finally:
        vault.close()


def _vault_login(wiring: Wiring, say: Callable[[str], None], token: str) -> AppRoleLogin | TokenLogin:
    from backupflow.adapters.vault import AppRoleLogin, TokenLogin

    try:
        installer = json.loads(wiring.secret("installer", "openbao"))
        return AppRoleLogin(installer["role_id"], installer["secret_id"])
    except SettingsInvalid:
        if not token:
            return TokenLogin(wiring.secret("admin", "openbao"))
    say("warning: OPENBAO_TOKEN is used, this once; an environment is easily read, a file admin.openbao is not")
    return TokenLogin(token)
