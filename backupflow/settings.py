"""The settings of a process: frozen groups, read once from the environment. Only wiring and the doors read them.

Secrets are not settings: they are files in `CONFIG_SECRETS_DIR`, named `<role>.<server>`, readable by their owner only.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import AliasChoices, BeforeValidator, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from backupflow.core.hook_target import target
from backupflow.core.listen import listen_address
from backupflow.core.model import SecretsPolicy
from backupflow.errors import InputInvalid, SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

_FROZEN = SettingsConfigDict(frozen=True, env_ignore_empty=True, populate_by_name=True, extra="ignore")
Role = Literal["scheduler", "collector", "ingester", "interpreter", "operator", "flower"]


def _seconds(value: object) -> object:
    """A bare number is seconds; pydantic alone would read a string of digits as such only in some forms."""
    try:
        return timedelta(seconds=float(str(value)))
    except (ValueError, OverflowError):
        return value


Seconds = Annotated[timedelta, BeforeValidator(_seconds)]


G = TypeVar("G", bound=BaseSettings)


def _env(name: str) -> AliasChoices:
    return AliasChoices(name)


class Servers(BaseSettings):
    """Where the servers are, without logins. `up` sets what it runs itself; what is set beforehand it leaves out."""

    model_config = _FROZEN
    database_url: str = Field(
        "",
        validation_alias=_env("DATABASE_URL"),
        description="postgresql://host:port/database, also with ?sslmode=verify-full",
    )
    redis_url: str = Field("", validation_alias=_env("REDIS_URL"), description="redis(s)://host:port/0")
    nats_url: str = Field("", validation_alias=_env("NATS_URL"), description="nats://host:port or tls://host:port")
    openbao_addr: str = Field("", validation_alias=_env("OPENBAO_ADDR"), description="http(s)://host:port")
    secrets_dir: Path = Field(
        Path(), validation_alias=_env("CONFIG_SECRETS_DIR"), description="folder with the logins, `<role>.<server>`"
    )
    ca: Path | None = Field(
        None, validation_alias=_env("CONFIG_SERVERS_CA"),
        description="file with the authorities that the certificates of all four servers are trusted by, and nobody "
        "else's; nothing goes in clear then (docs/servers.md)",
    )  # fmt: skip

    @field_validator("ca")
    @classmethod
    def _is_whole_path(cls, file: Path | None) -> Path | None:
        """Each process has a working directory of its own."""
        if file is not None and not file.is_absolute():
            raise ValueError("must be a whole path, from /")
        return file


class Process(BaseSettings):
    """What this process is."""

    model_config = _FROZEN
    role: Role = Field(
        "operator", validation_alias=_env("CONFIG_ROLE"), description="whose logins to the servers it uses"
    )
    log_format: Literal["json", "console"] = Field(
        "json", validation_alias=_env("CONFIG_LOG_FORMAT"), description="one JSON object a line, or text for a terminal"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", validation_alias=_env("CONFIG_LOG_LEVEL"), description="the least important events that are logged"
    )
    metrics_listen: str = Field(
        "", validation_alias=_env("CONFIG_METRICS_LISTEN"),
        description="host:port on which this process answers /metrics, /live and /ready; empty: it does not. `up` "
        "takes free ports of this machine, or those from this one on; off: none",
    )  # fmt: skip

    metrics_devices: bool = Field(
        False, validation_alias=_env("CONFIG_METRICS_DEVICES"),  # noqa: FBT003 - a default
        description="1: the metrics of beat name every device, with three series each and its name, site and tenant",
    )  # fmt: skip

    @field_validator("metrics_listen")
    @classmethod
    def _is_address(cls, text: str) -> str:
        try:
            if text not in {"", "off"}:
                listen_address(text)
        except InputInvalid as exc:
            raise ValueError(exc.detail) from None
        return text


class Collecting(BaseSettings):
    """How devices are collected, unless a tenant, site, group or device says otherwise."""

    model_config = _FROZEN
    interval: Seconds = Field(
        timedelta(hours=6),
        gt=timedelta(0),
        validation_alias=_env("CONFIG_BACKUP_INTERVAL"),
        description="seconds between two collections of a device",
    )
    max_concurrent: int = Field(
        10, ge=1, validation_alias=_env("CONFIG_BACKUP_MAX_CONCURRENT"), description="pool size of one collect worker"
    )
    max_total: int = Field(
        0,
        ge=0,
        validation_alias=_env("CONFIG_BACKUP_MAX_TOTAL"),
        description="most collections claimed or running in all workers; 0: no limit",
    )
    spread_from: Seconds = Field(
        timedelta(seconds=30),
        ge=timedelta(0),
        validation_alias=_env("CONFIG_BACKUP_SPREAD_FROM"),
        description="earliest first run of a new device, in seconds after it was added",
    )
    spread_to: Seconds = Field(
        timedelta(seconds=300),
        ge=timedelta(0),
        validation_alias=_env("CONFIG_BACKUP_SPREAD_TO"),
        description="latest first run of a new device, in seconds after it was added",
    )
    connect_timeout: Seconds = Field(
        timedelta(seconds=10), gt=timedelta(0), validation_alias=_env("CONFIG_BACKUP_CONNECT_TIMEOUT"),
        description="seconds for the TCP connection",
    )  # fmt: skip
    banner_timeout: Seconds = Field(
        timedelta(seconds=5), gt=timedelta(0), validation_alias=_env("CONFIG_BACKUP_BANNER_TIMEOUT"),
        description="seconds for the SSH banner and key exchange",
    )  # fmt: skip
    login_timeout: Seconds = Field(
        timedelta(seconds=30), gt=timedelta(0), validation_alias=_env("CONFIG_BACKUP_LOGIN_TIMEOUT"),
        description="seconds for the login",
    )  # fmt: skip
    command_timeout: Seconds = Field(
        timedelta(seconds=60), gt=timedelta(0), validation_alias=_env("CONFIG_BACKUP_COMMAND_TIMEOUT"),
        description="seconds for the export",
    )  # fmt: skip
    max_bytes: int = Field(
        16 * 1024 * 1024,
        ge=1024,
        validation_alias=_env("CONFIG_BACKUP_MAX_BYTES"),
        description="largest export that is accepted",
    )
    secrets: SecretsPolicy = Field(
        SecretsPolicy.COLLECT,
        validation_alias=_env("CONFIG_BACKUP_SECRETS"),
        description="collect: ask for the secrets in a configuration too; omit: leave them on the router",
    )
    end_mark: bool = Field(
        True, validation_alias=_env("CONFIG_BACKUP_END_MARK"),  # noqa: FBT003 - a default
        description="let routers that can end each export with a word of ours, so that no cut goes unseen",
    )  # fmt: skip
    emit_again_after: Seconds = Field(
        timedelta(seconds=60), gt=timedelta(0), validation_alias=_env("CONFIG_EMIT_AGAIN_AFTER"),
        description="seconds after which a claim that no worker started is emitted again",
    )  # fmt: skip
    lease_grace: Seconds = Field(
        timedelta(seconds=60), ge=timedelta(seconds=1), validation_alias=_env("CONFIG_LEASE_GRACE"),
        description="seconds beyond a session's deadline after which its worker is taken for lost",
    )  # fmt: skip
    lost_after: Seconds = Field(
        timedelta(seconds=60), ge=timedelta(seconds=20), validation_alias=_env("CONFIG_LOST_AFTER"),
        description="seconds after which a published observation that the bus does not have is collected again",
    )  # fmt: skip
    deaf_after: Seconds = Field(
        timedelta(seconds=120), ge=timedelta(seconds=4), validation_alias=_env("CONFIG_DEAF_AFTER"),
        description="seconds that work may wait for a process that lives and begins none, before it counts as deaf",
    )  # fmt: skip
    jump_host_retry: Seconds = Field(
        timedelta(seconds=300), ge=timedelta(seconds=1), le=timedelta(hours=1),
        validation_alias=_env("CONFIG_JUMP_HOST_RETRY"),
        description="seconds that a jump host which could not be passed is left alone; 5-25 % longer, then one tries",
    )  # fmt: skip
    status_interval: Seconds = Field(
        timedelta(0), ge=timedelta(0), le=timedelta(days=1), validation_alias=_env("CONFIG_STATUS_INTERVAL"),
        description="seconds between two looks whether devices that did not answer do again, in a process of its own, "
        "each device at most every 10 minutes; 0: none",
    )  # fmt: skip
    stream_max_bytes: int = Field(
        1024**3, ge=16 * 1024**2, validation_alias=_env("CONFIG_STREAM_MAX_BYTES"),
        description="room of the stream between collectors and ingester",
    )  # fmt: skip


class Keeping(BaseSettings):
    """How what was collected is looked after."""

    model_config = _FROZEN
    verify_sample: float = Field(
        4.0, ge=0, le=100, validation_alias=_env("CONFIG_VERIFY_SAMPLE"),
        description="percent of all that is kept which is opened and verified each day, beside the current ones; "
        "4: each within 25 days",
    )  # fmt: skip
    runs_days: int = Field(
        30, ge=1, le=36500, validation_alias=_env("CONFIG_RUNS_DAYS"),
        description="days after which attempts are kept as the first and last of each stretch with one outcome only",
    )  # fmt: skip
    changes_a_day: int = Field(
        24, ge=1, le=100_000, validation_alias=_env("CONFIG_CHANGES_A_DAY"),
        description="changes of one device in 24 hours; one with more is collected once a day until a day has no more",
    )  # fmt: skip
    changed_bytes_a_day: int = Field(
        64 * 1024 * 1024, ge=1024, validation_alias=_env("CONFIG_CHANGED_BYTES_A_DAY"),
        description="bytes of changed configurations of one device in 24 hours; likewise",
    )  # fmt: skip
    retention_days: int = Field(
        90, ge=1, le=36500, validation_alias=_env("CONFIG_RETENTION_DAYS"),
        description="days after a configuration was last seen until it is taken away; never the current one, nor the "
        "last CONFIG_RETENTION_KEEP of a device",
    )  # fmt: skip
    retention_keep: int = Field(
        5, ge=1, le=100_000, validation_alias=_env("CONFIG_RETENTION_KEEP"),
        description="configurations of a device that are kept however old they are",
    )  # fmt: skip
    escrow_dir: Path | None = Field(
        None, validation_alias=_env("CONFIG_ESCROW_DIR"),
        description="folder of the escrow's files, unless `escrow enable --to` says another (docs/escrow.md)",
    )  # fmt: skip
    escrow_keep: int = Field(
        7, ge=1, le=3650, validation_alias=_env("CONFIG_ESCROW_KEEP"),
        description="newest files of the escrow that stay, a tenant",
    )  # fmt: skip

    @field_validator("escrow_dir")
    @classmethod
    def _is_absolute(cls, folder: Path | None) -> Path | None:
        """Each process has a working directory of its own."""
        if folder is not None and not folder.is_absolute():
            raise ValueError("must be a whole path, from /")
        return folder


class Telling(BaseSettings):
    """Who is told what happens (docs/events.md)."""

    model_config = _FROZEN
    on_event: str = Field(
        "", validation_alias=_env("CONFIG_ON_EVENT"),
        description="a command, or an http(s) address that takes a signed POST, which is told of alarms; empty: nobody",
    )  # fmt: skip
    on_event_ca: Path | None = Field(
        None, validation_alias=_env("CONFIG_ON_EVENT_CA"),
        description="file with the authorities that the address's certificate is trusted by, instead of the usual ones",
    )  # fmt: skip

    @field_validator("on_event")
    @classmethod
    def _is_target(cls, text: str) -> str:
        """What is wrong with it must not quote it."""
        try:
            target(text)
        except InputInvalid as exc:
            raise ValueError(exc.detail) from None
        return text


class Watching(BaseSettings):
    """The web page on which Celery is watched (docs/flower.md)."""

    model_config = _FROZEN
    listen: str = Field(
        "127.0.0.1:5555", validation_alias=_env("FLOWER_LISTEN"),
        description="host:port of the page; `up` takes a free port of this machine unless this is set; off: no page",
    )  # fmt: skip
    write: bool = Field(
        False, validation_alias=_env("FLOWER_WRITE"),  # noqa: FBT003 - a default
        description="the page may command workers, and they obey: stop, grow, revoke; otherwise neither",
    )  # fmt: skip
    max_tasks: int = Field(
        10_000, ge=10, le=1_000_000, validation_alias=_env("FLOWER_MAX_TASKS"),
        description="the latest tasks that the page remembers, some 5 kB each",
    )  # fmt: skip

    @field_validator("listen")
    @classmethod
    def _is_address(cls, text: str) -> str:
        try:
            if text != "off":
                listen_address(text)
        except InputInvalid as exc:
            raise ValueError(exc.detail) from None
        return text


def _read(group: type[G], environment: Mapping[str, str] | None) -> G:
    if environment is None:
        return group()
    return group.model_validate({name: value for name, value in environment.items() if value})


# By pydantic's types of errors (pydantic.dev, "Validation Errors"): what is wanted, for who knows no Python.
_WANTED = {
    "bool_parsing": "must be 1 or 0",
    "int_parsing": "must be a whole number",
    "float_parsing": "must be a number",
    "time_delta_parsing": "must be a number of seconds, such as 90",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}


def _wrong(found: ErrorDetails) -> str:
    """What is wrong with a setting, without its value: an address may hold somebody's login."""
    about = found.get("ctx", {})
    if found["type"] == "value_error":
        return str(about["error"])
    wanted = _WANTED.get(found["type"])
    return wanted.format(**about) if wanted else found["msg"]


class Settings:
    """All groups; HALT with the name of the variable, never its value, if one is wrong."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        try:
            self.servers = _read(Servers, environment)
            self.process = _read(Process, environment)
            self.collecting = _read(Collecting, environment)
            self.keeping = _read(Keeping, environment)
            self.telling = _read(Telling, environment)
            self.watching = _read(Watching, environment)
        except ValidationError as exc:
            first = exc.errors(include_input=False, include_url=False)[0]
            name = ".".join(str(part) for part in first["loc"])
            raise SettingsInvalid(f"{name}: {_wrong(first)}") from None
        if self.collecting.spread_to < self.collecting.spread_from:
            raise SettingsInvalid("CONFIG_BACKUP_SPREAD_TO is less than CONFIG_BACKUP_SPREAD_FROM")


GROUPS: tuple[type[BaseSettings], ...] = (Servers, Process, Collecting, Keeping, Telling, Watching)
