"""Where secrets stand in text that has no properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.redact import secret_spans


def without(text: str, *, prose: bool = False) -> str:
    """The text with a dot for each secret."""
    raw, told, at = text.encode(), b"", 0
    for begin, end in secret_spans(raw, prose=prose):
        told += raw[at:begin] + b"."
        at = end
    return (told + raw[at:]).decode()


@pytest.mark.parametrize(
    ("script", "seen"),
    [
        ("/tool fetch password=abc user=x", "/tool fetch password=. user=x"),
        ('/tool fetch password="a b" user=x', "/tool fetch password=. user=x"),
        ('add wpa2-pre-shared-key="a\\"b" mode=x', "add wpa2-pre-shared-key=. mode=x"),
        (':local pass "abc"\n:put 1', ":local pass .\n:put 1"),
        (':local smtpPassword "a;b"; :put 1', ":local smtpPassword .; :put 1"),
        (':global tokens {"a";\n"b"}; :put 1', ":global tokens .; :put 1"),
        (':set $psk ("a" . "b")\r\n:put 1', ":set $psk .\r\n:put 1"),
        ('do={:local pw "x"} on-error={}', "do={:local pw .} on-error={}"),
        (':set ($a->"password") "x"; :put 1', ':set ($a->"password") .; :put 1'),
        ('($a->"password")="x"; :put 1', '($a->"password")=.; :put 1'),
        ('password=("a" . $b . "c") user=x', "password=. user=x"),
        ('password="a" . "b" user=x', "password=. user=x"),
        ('url="https://u:p@h/x" mode=y', 'url="https://.@h/x" mode=y'),
        ('url="https://token@h/x"', 'url="https://.@h/x"'),
        ('url="ftp://u:p@q@h/x"', 'url="ftp://.@h/x"'),
        ('url="https://h/x?a=1&k=2" mode=y', 'url="https://h/x?." mode=y'),
        ('url="https://h/api/webhooks/1/abc" m=y', 'url="https://h/api/webh." m=y'),
        ('http-header-field="Authorization: Bearer abc def" m=y', 'http-header-field="Authorization: ." m=y'),
        ('http-header-field="X-Api-Key: abc" m=y', 'http-header-field="X-Api-Key: ." m=y'),
        ('http-data="{\\"password\\":\\"a b\\",\\"x\\":1}"', 'http-data="{\\"password\\":.,\\"x\\":1}"'),
        ('source="ppp add password=\\"a b\\" name=x"', 'source="ppp add password=. name=x"'),
        (
            'source="add on-event=\\"set password=\\\\\\"a b\\\\\\" x=1\\""',
            'source="add on-event=\\"set password=. x=1\\""',
        ),
        (":local bot 12345678:AAbbCCddEEffGGhhIIjjKKllMMnnOOpp", ":local bot ."),
        ("https://api.telegram.org/bot12345678:AAbbCCddEEffGGhhIIjjKKllMMnnOOpp/x", "https://api.telegram.org/bot./x"),
        ("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----", ".-----END PRIVATE KEY-----"),
        ("x=ghp_0123456789abcdef y=1", "x=. y=1"),
        ("run --token abc --name x", "run --token . --name x"),
        ("curl -u admin:abc http://h", "curl -u . http://h"),
        ('password="never closed; user=x', "password=."),
        # A line that goes on in the next one.
        ("password=\\\n    abc user=x", "password=\\\n    . user=x"),
        ("password=\\\r\n    abc user=x", "password=\\\r\n    . user=x"),
        ('password= \\\r\n "a b" user=x', "password= \\\r\n . user=x"),
        ("password=ab\\\r\n    cd user=x", "password=. user=x"),
        ('source="password=\\\\\\r\\n \\"a b\\" x=1"', 'source="password=\\\\\\r\\n . x=1"'),
        (':local pass \\\n "a b" \\\r\n . "c"; :put 1', ":local pass \\\n .; :put 1"),
        ('http-header-field="Authorization: Basic \\\n abc" m=y', 'http-header-field="Authorization: ." m=y'),
        # A string that ends before its secret does.
        ('http-header-field=("X-Auth-Token: " . "a b") m=y', 'http-header-field=("X-Auth-Token: .) m=y'),
        ('http-header-field=("Authorization: Basic " . "a b") m=y', 'http-header-field=("Authorization: .) m=y'),
        ('http-data=("password=" . $a . "&user=x") m=y', 'http-data=("password=.) m=y'),
        ('source="http-data=(\\"password=\\" . \\"a b\\") m=y"', 'source="http-data=(\\"password=.) m=y"'),
        ('url=("https://h/?u=x&password=" . "a b") m=y', 'url=("https://h/?.) m=y'),
        ('url=("https://h/bot" . "a b" . "/send") m=y', 'url=("https://h/bot.) m=y'),
        (':put ("pass: " . "a b"); :put 1', ':put ("pass: .); :put 1'),
        (':put ("pass: " \\\r\n . "a b"); :put 1', ':put ("pass: .); :put 1'),
        # Menus, and names in other places.
        ("/snmp community set public name=abc; :put 1", "/snmp community set .; :put 1"),
        ("/snmp/community/set 0 name=abc\n:put 1", "/snmp/community/set .\n:put 1"),
        ("/snmp community print; :put 1", None),
        ("/container envs add key=A value=abc; :put 1", "/container envs add .; :put 1"),
        (':set ($a->"password") abc; :put 1', ':set ($a->"password") .; :put 1'),
        (':if ($"pass" != "abc") do={}', ':if ($"pass" != .) do={}'),
        ("mysql -p abc --name x", "mysql -p . --name x"),
        # Nothing is lost where nothing is secret.
        ("/ip firewall filter add chain=input passthrough=yes", None),
        ("/routing ospf interface add passive=yes public-key=abc", None),
        (":local x 5; :put $x; /ping 10.0.0.1 count=3", None),
        (":set pinging yes; /interface print", None),
        ("https://h/path/x.rsc", None),
    ],
)
def test_a_script_is_told_without_what_is_secret_in_it(script: str, seen: str | None) -> None:
    """By the word before it, its place in an address, or its form; whatever string it stands in."""
    assert without(script) == (script if seen is None else seen)


@pytest.mark.parametrize(
    ("remark", "seen"),
    [
        ("wifi password: two words", "wifi password: ."),
        ("Guest PIN 4711 (till June)", "Guest PIN ."),
        ("password is abc1", "password is ."),
        ("password manager on the shelf", "password manager on the shelf"),
        ("key account", "key account"),
        ("login: https://u:p@h", "login: https://.@h"),
        ("p/w abc1", "p/w ."),
        ("psw: abc", "psw: ."),
        ("passw abc1", "passw ."),
        ("password:\nabc", "password:\n."),
        ("PIN\r\n4711", "PIN\r\n."),
    ],
)
def test_a_remark_is_told_without_what_is_secret_in_it(remark: str, seen: str) -> None:
    """In prose a secret may have blanks, and no sign before it."""
    assert without(remark, prose=True) == seen


@pytest.mark.parametrize("piece", ['pass="', "pass= (", "set key {", "pass={", "key='", ':local pass \\"', 'key=\\"x'])
def test_what_would_take_too_long_to_look_at_is_one_secret(piece: str) -> None:
    """Each of these would be looked at again from each of its places."""
    text = (piece * 4_000).encode()
    [(begin, end)] = secret_spans(text)
    assert begin <= len(piece)
    assert end == len(text)


@given(text=st.text(alphabet='pass=:key "\\{}();\n?@/.-localset', max_size=200), prose=st.booleans())
def test_spans_are_in_order_and_apart(text: str, prose: bool) -> None:
    """Within the text, none of them empty."""
    spans = secret_spans(text.encode(), prose=prose)
    ends = [place for span in spans for place in span]
    assert ends == sorted(set(ends))
    assert not ends or (ends[0] >= 0 and ends[-1] <= len(text.encode()))
