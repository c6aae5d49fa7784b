"""How a server is reached, and what is said of one that is not trusted."""

from __future__ import annotations

import pytest

from backupflow.core.tls import CLEAR, Refusal, Trust, postgres_options, refusal, trust
from backupflow.errors import SettingsInvalid

CA = "/etc/ours.pem"
SECURE = {
    "REDIS_URL": "rediss://r/0",
    "NATS_URL": "tls://n",
    "OPENBAO_ADDR": "https://b",
    "DATABASE_URL": "postgresql://p/b",
}
IN_CLEAR = {
    "REDIS_URL": "redis://r/0",
    "NATS_URL": "nats://n",
    "OPENBAO_ADDR": "http://b",
    "DATABASE_URL": "postgresql://p/b?sslmode=require",
}


@pytest.mark.parametrize("variable", SECURE)
def test_authorities_of_ones_own_are_the_only_ones_of_each_server(variable: str) -> None:
    """The file goes to every client, and with it the connection is encrypted."""
    assert trust(variable, SECURE[variable], CA) == Trust(encrypted=True, ca=CA)


@pytest.mark.parametrize("variable", IN_CLEAR)
def test_with_authorities_nothing_goes_in_clear(variable: str) -> None:
    """Nor encrypted to whomever; the sentence names the variable, and not the address."""
    with pytest.raises(SettingsInvalid, match=variable) as refused:
        trust(variable, IN_CLEAR[variable], CA)
    assert "CONFIG_SERVERS_CA" in refused.value.detail
    assert IN_CLEAR[variable] not in refused.value.detail


def test_without_authorities_each_address_says_itself() -> None:
    """As it was before there was such a file, and in capitals too."""
    clear = {name: address for name, address in IN_CLEAR.items() if name != "DATABASE_URL"}
    assert {trust(name, address, None) for name, address in clear.items()} == {CLEAR}
    secure = {name: address for name, address in SECURE.items() if name != "DATABASE_URL"}
    assert {trust(name, address.upper(), None) for name, address in secure.items()} == {Trust(encrypted=True)}
    assert trust("DATABASE_URL", SECURE["DATABASE_URL"], None) == CLEAR
    assert trust("DATABASE_URL", IN_CLEAR["DATABASE_URL"], None) == Trust(encrypted=True)


def test_postgres_is_asked_for_its_name_whenever_its_certificate_is_looked_at() -> None:
    """By the given file; else by the machine's, where the address asks for a check and names no file itself."""
    assert postgres_options(Trust(encrypted=True, ca=CA), SECURE["DATABASE_URL"], "/machine") == {
        "sslmode": "verify-full",
        "sslrootcert": CA,
        "gssencmode": "disable",
    }
    asks = "postgresql://p/b?sslmode=verify-full"
    assert postgres_options(Trust(encrypted=True), asks, "/machine")["sslrootcert"] == "/machine"
    assert postgres_options(Trust(encrypted=True), f"{asks}&sslrootcert=/own", "/machine") == {}
    assert postgres_options(CLEAR, SECURE["DATABASE_URL"], "/machine") == {}


@pytest.mark.parametrize("option", ["sslmode=disable", "sslmode=prefer", "sslmode=verify-ca", "sslrootcert=/other"])
def test_an_address_of_postgres_may_not_weaken_the_check(option: str) -> None:
    """Whichever place it stands at."""
    with pytest.raises(SettingsInvalid, match="DATABASE_URL"):
        trust("DATABASE_URL", f"postgresql://p/b?connect_timeout=3&{option}", CA)


@pytest.mark.parametrize(
    ("says", "meant"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer", Refusal.UNTRUSTED),
        ("certificate verify failed: IP address mismatch, certificate is not valid for ", Refusal.ANOTHER_NAME),
        ('server certificate for "a" does not match host name "b"', Refusal.ANOTHER_NAME),
        ("certificate verify failed: certificate has expired", Refusal.EXPIRED),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", Refusal.IN_CLEAR),
        ("server does not support SSL, but SSL was required", Refusal.IN_CLEAR),
        ("connection refused", None),
    ],
)
def test_what_libraries_say_is_put_into_one_sentence(says: str, meant: Refusal | None) -> None:
    """The more telling piece wins: a wrong name is a failed check, too."""
    assert refusal(says) is meant
