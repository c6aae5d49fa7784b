"""What the servers of a composed install are told: the same configurations as those of a one-machine install.

Each server finds in its room what it reads, and sees that room as /secrets; its data lie where its image expects them.
Servers know one another, and are known, by the names of the services in docker-compose.yml.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from backupflow.embedded import nats, openbao, postgres, valkey
from backupflow.embedded.seal import identify, make_key, stanza
from backupflow.embedded.servers import ServerOptions
from backupflow.errors import ServerUnusable

if TYPE_CHECKING:
    from backupflow.embedded.rooms import Rooms

SEAL_KEY = "seal.key"
VAULT_IS_SET_UP = "vault-is-set-up"  # it gets no second set of keys if its storage is lost: that is to be restored
_SEAL_ID = "seal.id"
_FOREIGN = "admin.openbao"
_READY = "ready.redis"
_SEEN_AS = Path("/secrets")
_EVERYWHERE = "0.0.0.0"  # noqa: S104 -- inside of its container; what may reach it is told by the networks
_OPTIONS = ServerOptions()


def configure(rooms: Rooms, *, redis_users: str, nats_users: str) -> None:
    """Fill the rooms of the four servers.

    ServerUnusable if the key of the vault's seal is gone or is another one than before.
    """
    _postgres(rooms)
    _redis(rooms, redis_users)
    _nats(rooms, nats_users)
    _openbao(rooms)


def _postgres(rooms: Rooms) -> None:
    # The entry point of its image makes the cluster through a socket.
    told = postgres.settings(host=_EVERYWHERE, port=5432, sockets="/var/run/postgresql")
    text = "".join(f"{name} = '{value}'\n" for name, value in told.items())
    rooms.keep("postgres", "postgresql.conf", text.encode())
    hba = f"local all all scram-sha-256\n{postgres.hba('all')}"
    rooms.keep("postgres", "pg_hba.conf", hba.encode())
    rooms.copy("postgres", [postgres.SECRET])


def _redis(rooms: Rooms, users: str) -> None:
    rooms.keep("redis", "valkey.acl", valkey.acl_file(users, rooms.secret(_READY)).encode())
    text = valkey.config(
        host=_EVERYWHERE, port=6379, memory=_OPTIONS.redis_memory, acl=str(_SEEN_AS / "valkey.acl"), folder="/data"
    )
    rooms.keep("redis", "valkey.conf", text.encode())
    rooms.copy("redis", [_READY])


def _nats(rooms: Rooms, users: str) -> None:
    rooms.keep("nats", nats.USERS, users.encode())
    text = nats.config(host=_EVERYWHERE, port=4222, store=_OPTIONS.stream_store, users=nats.USERS, folder="/data/nats")
    rooms.keep("nats", "nats.conf", text.encode())


def _openbao(rooms: Rooms) -> None:
    if rooms.has(
        _FOREIGN
    ):  # a vault of somebody's own, with a token of its admin: `provision` makes the installer there
        if not rooms.has(VAULT_IS_SET_UP):
            rooms.forget(openbao.SECRET)
        return
    # Its audit goes where its log goes, because whoever runs the containers keeps that within bounds.
    place = openbao.Place(
        port=8200, cluster_port=8201, listens=_EVERYWHERE, name="openbao", storage="/openbao/file", audit="stdout"
    )
    text = openbao.config(place, stanza(_seal(rooms), _SEEN_AS / SEAL_KEY))
    if not rooms.has(VAULT_IS_SET_UP):
        login = _installer(rooms)
        rooms.keep("openbao", openbao.SECRET_FILE, login["secret_id"].encode())
        text["initialize"] = openbao.first_requests(login["role_id"], str(_SEEN_AS / openbao.SECRET_FILE))
    else:
        (rooms.room("openbao") / openbao.SECRET_FILE).unlink(missing_ok=True)
    rooms.keep("openbao", "openbao.json", json.dumps(text, indent=1).encode())


def _seal(rooms: Rooms) -> str:
    """The name of the seal's key, which is made once, and given to the vault alone."""
    key = rooms.room(rooms.main) / SEAL_KEY
    if not rooms.bring_back(SEAL_KEY):
        if rooms.has(_SEAL_ID):
            raise ServerUnusable(f"the key of the vault's seal, {key}, is gone; bring it back: it cannot be made anew")
        make_key(key)
    name = identify(key)
    known = key.with_name(_SEAL_ID)
    if known.exists() and known.read_text(encoding="utf-8") != name:
        raise ServerUnusable(f"{key} is not the key that the vault was sealed with; bring that one back")
    rooms.keep(rooms.main, _SEAL_ID, name.encode())
    rooms.copy("openbao", [SEAL_KEY])
    return name


def _installer(rooms: Rooms) -> dict[str, str]:
    if not rooms.has(openbao.SECRET):
        rooms.keep(rooms.main, openbao.SECRET, json.dumps(openbao.new_login()).encode())
    login: dict[str, str] = json.loads((rooms.room(rooms.main) / openbao.SECRET).read_bytes())
    return login
