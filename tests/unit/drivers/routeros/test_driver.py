"""How a RouterOS device is asked for its export, and which of its answers is taken."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.driver import Asking, Incomplete, Reading, Reason, Reply
from backupflow.core.model import Secrets, SecretsPolicy
from backupflow.drivers import DRIVERS, driver
from backupflow.errors import InputInvalid

ROS = driver("routeros")
SENSITIVE, PLAIN, HIDING = "/export show-sensitive", "/export", "/export hide-sensitive"
SMALL = "/system identity export"
NONCE = "4f9Zq7"
COLLECT, OMIT = SecretsPolicy.COLLECT, SecretsPolicy.OMIT

SIX = b"# sep/29/2022 10:00:00 by RouterOS 6.49.7\r\n/ppp secret\r\nadd name=a password=x\r\n"
SIX_HIDDEN = SIX.replace(b" password=x", b"")
SEVEN = b"# 2025-06-10 18:46:11 by RouterOS 7.19.1\r\n/ppp secret\r\nadd name=a password=x\r\n"
SEVEN_HIDDEN = SEVEN.replace(b" password=x", b"")
UNKNOWN = b"expected end of command (line 1 column 9)\r\n"
DENIED = b"not enough permissions (9)\r\n"

Router = Callable[[str], bytes]


def router(answers: dict[str, bytes], *, end_mark: bool = True) -> Router:
    """A router that knows these commands; `end_mark`: it also takes a statement after them."""

    def answer(command: str) -> bytes:
        asked, marked, _ = command.partition("; :put ")
        if marked and not end_mark:
            return b"expected end of command (line 1 column 8)\r\n"
        said = answers.get(asked, UNKNOWN)
        return said + f"{NONCE}\r\n".encode() if marked and said.startswith(b"#") else said

    return answer


RIGHTS = {SENSITIVE: DENIED, PLAIN: SEVEN_HIDDEN, HIDING: SEVEN_HIDDEN}
SMALL_6 = SIX[: SIX.index(b"/ppp")] + b"/system identity\r\nset name=r6\r\n"
SMALL_7 = SEVEN[: SEVEN.index(b"/ppp")]
V6 = {PLAIN: SIX, HIDING: SIX_HIDDEN, SMALL: SMALL_6}
V7 = {SENSITIVE: SEVEN, PLAIN: SEVEN_HIDDEN, HIDING: SEVEN_HIDDEN, SMALL: SMALL_7}
CAME = " came although secrets were to be left out"
CANNOT = "the router cannot leave its secrets out"


def session(asking: Asking, answer: Router) -> tuple[list[str], Reading | Incomplete]:
    """Run a session: what was asked, and what came of it."""
    replies: list[Reply] = []
    while (command := ROS.next_command(asking, replies)) is not None:
        replies.append(Reply(command, answer(command), b"", 0))
    return [reply.command for reply in replies], ROS.read(asking, replies)


def test_the_registry_gives_each_driver_by_its_name() -> None:
    """A name that there is not is the caller's mistake, told with those that there are."""
    assert [driver(name).name for name in DRIVERS] == list(DRIVERS)
    with pytest.raises(InputInvalid, match="routeros"):
        driver("no such")


@pytest.mark.parametrize(
    ("asking", "answers", "asked", "told"),
    [
        (Asking(COLLECT, None), V7, [SENSITIVE], (Secrets.SHOWN, SENSITIVE)),
        (Asking(COLLECT, "reboot"), V7, [SENSITIVE], (Secrets.SHOWN, SENSITIVE)),
        (Asking(COLLECT, HIDING), V7, [SENSITIVE], (Secrets.SHOWN, SENSITIVE)),
        (Asking(COLLECT, None), V7 | {SENSITIVE: SEVEN_HIDDEN}, [SENSITIVE], (Secrets.NONE, SENSITIVE)),
        (Asking(COLLECT, None), V6, [SENSITIVE, PLAIN], (Secrets.SHOWN, PLAIN)),
        (Asking(COLLECT, PLAIN), V6, [PLAIN], (Secrets.SHOWN, PLAIN)),
        (Asking(COLLECT, PLAIN), V6 | {PLAIN: SIX_HIDDEN}, [PLAIN], (Secrets.NONE, PLAIN)),
        (Asking(COLLECT, PLAIN), V7, [PLAIN, SENSITIVE], (Secrets.SHOWN, SENSITIVE)),
        (Asking(COLLECT, None), RIGHTS, [SENSITIVE, PLAIN], (Secrets.HIDDEN, SENSITIVE)),
        (Asking(COLLECT, PLAIN), RIGHTS, [PLAIN, SENSITIVE], (Secrets.HIDDEN, SENSITIVE)),
        (Asking(COLLECT, PLAIN), V7 | {SENSITIVE: UNKNOWN}, [PLAIN, SENSITIVE], (Secrets.HIDDEN, PLAIN)),
        (Asking(COLLECT, None), V7 | {SENSITIVE: UNKNOWN}, [SENSITIVE, PLAIN], (Secrets.HIDDEN, PLAIN)),
        (Asking(COLLECT, None), V6 | {SENSITIVE: DENIED}, [SENSITIVE, PLAIN], (Secrets.SHOWN, SENSITIVE)),
        (Asking(OMIT, None), V7, [HIDING], (Secrets.OMITTED, HIDING)),
        (Asking(OMIT, PLAIN), V7, [HIDING], (Secrets.OMITTED, HIDING)),
        (Asking(OMIT, SENSITIVE), V6, [HIDING], (Secrets.OMITTED, HIDING)),
        (Asking(OMIT, None), V7 | {HIDING: UNKNOWN}, [HIDING, SMALL, PLAIN], (Secrets.OMITTED, PLAIN)),
    ],
)
@pytest.mark.parametrize("mark", [None, NONCE])
def test_a_session_asks_for_what_is_missing_and_no_more(
    asking: Asking, answers: dict[str, bytes], asked: list[str], told: tuple[Secrets, str], mark: str | None
) -> None:
    """The order of docs/completeness.md, with and without an end mark."""
    commands, said = session(Asking(asking.secrets, asking.remembered, mark), router(answers))
    assert commands == [f'{command}; :put "{NONCE}"' if mark else command for command in asked]
    assert isinstance(said, Reading)
    assert (said.secrets, said.remember) == told
    assert (said.marked, said.ended) == (mark is not None, mark is not None)
    assert said.raw == answers[said.command]


@pytest.mark.parametrize(
    ("asking", "answers", "may_hide"),
    [
        (Asking(COLLECT, None), V6, True),
        (Asking(COLLECT, PLAIN), {PLAIN: SIX_HIDDEN.replace(b" 6.49.7", b"")}, True),
        (Asking(COLLECT, PLAIN), {PLAIN: SEVEN_HIDDEN}, False),
        (Asking(COLLECT, None), V7, False),
        (Asking(COLLECT, None), {SENSITIVE: SIX}, False),
        (Asking(OMIT, None), V6, False),
    ],
)
def test_an_old_router_asked_plainly_may_hide_its_secrets_without_a_word(
    asking: Asking, answers: dict[str, bytes], may_hide: bool
) -> None:
    """One without a version may be an old one; whoever was told to show or to hide does so, or refuses."""
    _, said = session(asking, router(answers))
    assert isinstance(said, Reading)
    assert said.may_hide is may_hide


@pytest.mark.parametrize("cut", [SEVEN[:-9], b"#interrupted\n"])
@pytest.mark.parametrize("mark", [None, NONCE])
def test_an_export_that_breaks_off_is_not_replaced_by_one_that_shows_less(cut: bytes, mark: str | None) -> None:
    """Plain had worked before an upgrade: the secrets are not hidden, they got lost on the way."""
    commands, said = session(Asking(COLLECT, PLAIN, mark), router(V7 | {SENSITIVE: cut}))
    assert len(commands) == 2
    assert isinstance(said, Incomplete)
    assert said.reason in {Reason.TRUNCATED, Reason.INTERRUPTED}


@pytest.mark.parametrize(
    ("answers", "asked", "detail"),
    [
        ({SMALL: SMALL_6, PLAIN: SIX}, [HIDING, SMALL], CANNOT),
        ({SMALL: SMALL_7.replace(b" 7.19.1", b""), PLAIN: SEVEN_HIDDEN}, [HIDING, SMALL], CANNOT),
        ({SMALL: b"#\r\n", PLAIN: SEVEN_HIDDEN}, [HIDING, SMALL], CANNOT),
        ({SMALL: SMALL_7, PLAIN: SIX_HIDDEN}, [HIDING, SMALL, PLAIN], CANNOT),
        ({SMALL: SMALL_7, PLAIN: SEVEN_HIDDEN.replace(b" 7.19.1", b"")}, [HIDING, SMALL, PLAIN], CANNOT),
        ({SMALL: SMALL_7, PLAIN: SEVEN}, [HIDING, SMALL, PLAIN], "password in /ppp secret" + CAME),
        ({HIDING: SEVEN}, [HIDING], "password in /ppp secret" + CAME),
        ({HIDING: DENIED}, [HIDING], "the router answered with an error (line 1)"),
        ({PLAIN: SEVEN_HIDDEN}, [HIDING, SMALL], "the router does not know the commands"),
    ],
)
def test_secrets_that_are_to_be_left_out_never_come_in(
    answers: dict[str, bytes], asked: list[str], detail: str
) -> None:
    """Better no configuration than one with what was to stay on the router."""
    assert session(Asking(OMIT, None), router(answers)) == (asked, Incomplete(Reason.REJECTED, detail))


@pytest.mark.parametrize("small", [SMALL_6, UNKNOWN, DENIED, b"", b"# wan by RouterOS 7\r\n# by RouterOS 6.1\r\n"])
@pytest.mark.parametrize("end_mark", [True, False])
def test_plain_is_never_asked_where_it_may_show_what_is_to_stay(small: bytes, end_mark: bool) -> None:
    """To refuse what has come would be too late: it has crossed the network, and stood in our memory."""
    asked, said = session(Asking(OMIT, PLAIN, NONCE), router({SMALL: small, PLAIN: SIX}, end_mark=end_mark))
    assert isinstance(said, Incomplete)
    assert said.reason is Reason.REJECTED
    assert not [command for command in asked if command.startswith(PLAIN + ";") or command == PLAIN]


def test_a_router_that_hides_unasked_is_asked_for_it_in_any_form() -> None:
    """It knows neither the word nor the form of an end mark: five commands."""
    asked, said = session(Asking(OMIT, None, NONCE), router(V7 | {HIDING: UNKNOWN}, end_mark=False))
    assert [command.partition(";")[0] for command in asked] == [HIDING, SMALL, HIDING, SMALL, PLAIN]
    assert isinstance(said, Reading)
    assert (said.raw, said.marked, said.secrets) == (SEVEN_HIDDEN, False, Secrets.OMITTED)


@pytest.mark.parametrize(("answers", "first"), [(V7, SENSITIVE), (V6, PLAIN), (RIGHTS, SENSITIVE)])
def test_a_router_that_refuses_the_form_of_an_end_mark_is_asked_without(answers: dict[str, bytes], first: str) -> None:
    """In the same session; what it gives is taken as unmarked."""
    asked, said = session(Asking(COLLECT, None, NONCE), router(answers, end_mark=False))
    assert asked[:3] == [f'{SENSITIVE}; :put "{NONCE}"', f'{PLAIN}; :put "{NONCE}"', SENSITIVE]
    assert isinstance(said, Reading)
    assert (said.marked, said.remember) == (False, first)


@pytest.mark.parametrize(
    "end", [b"4f9Zq7", b"4f9Zq7 \r\n", b"4f9Zq8\r\n", b'"4f9Zq7"\r\n', b"4f9Zq7\r\n\r\n", b"4f9Zq7\r\nx\r\n"]
)
def test_an_end_mark_is_the_whole_last_line_or_none(end: bytes) -> None:
    """Whatever comes near it is no end of an export."""
    _, said = session(Asking(COLLECT, None, NONCE), lambda _: SEVEN + end)
    assert isinstance(said, Incomplete)


def test_a_whole_export_without_its_mark_is_given_back_as_such() -> None:
    """Whether its end may be missing depends on what is known of the router; not one byte of it is."""
    _, said = session(Asking(COLLECT, None, NONCE), lambda _: SEVEN)
    assert isinstance(said, Reading)
    assert (said.raw, said.marked, said.ended) == (SEVEN, True, False)


@pytest.mark.parametrize("end", [b"4f9Zq7\r\n", b"4f9Zq7\n"])
def test_only_the_end_mark_is_cut_off(end: bytes) -> None:
    """Also an export that holds the same word elsewhere stays as it is."""
    text = SEVEN + b"add name=4f9Zq7\r\n"
    _, said = session(Asking(COLLECT, None, NONCE), lambda _: text + end)
    assert isinstance(said, Reading)
    assert said.raw == text


def test_a_line_feed_that_ended_no_line_is_no_end_of_the_export() -> None:
    """The mark alone on its line: what stands before it must have ended."""
    _, said = session(Asking(COLLECT, None, NONCE), lambda _: SEVEN.removesuffix(b"\r\n") + b"4f9Zq7\r\n")
    assert isinstance(said, Incomplete)
    assert said.reason is Reason.TRUNCATED


@pytest.mark.parametrize("nonce", ["", "a b", 'x"; /system reset-configuration; :put "', "é", "x" * 65])
def test_a_mark_that_is_no_word_is_never_sent(nonce: str) -> None:
    """It stands in a command line of a router."""
    with pytest.raises(InputInvalid):
        ROS.probe(nonce)


@pytest.mark.parametrize(
    ("stdout", "status", "repeats"),
    [
        (SEVEN + b"4f9Zq7\r\n", 0, True),
        (b"# 2025-06-10 18:46:11 by RouterOS 7.19.1\r\n4f9Zq7\r\n", 0, True),
        (SEVEN + b"4f9Zq7\r\n", 1, False),
        (SEVEN + b"4f9Zq7\r\n", None, False),
        (SIX + b"4f9Zq7\n", 1, True),
        (SEVEN, 0, False),
        (SEVEN + b"4f9Zq7", 0, False),
        (SEVEN.removesuffix(b"\r\n") + b"4f9Zq7\r\n", 0, False),
        (b'bad command name :put "4f9Zq7"\r\n', 0, False),
        (DENIED + b"4f9Zq7\r\n", 0, False),
        (UNKNOWN + b"4f9Zq7\r\n", 0, False),
        (b"", 0, False),
    ],
)
def test_a_router_repeats_an_end_mark_or_not(stdout: bytes, status: int | None, repeats: bool) -> None:
    """Only a router that does all of it as it should is held to it later."""
    probe = ROS.probe(NONCE)
    assert probe == f'/system identity export; :put "{NONCE}"'
    assert ROS.repeats(Reply(probe, stdout, b"", status), NONCE) is repeats


@pytest.mark.parametrize("answer", [UNKNOWN, b"\r\n" + UNKNOWN, b"syntax error (line 1 column 9)\n"])
def test_a_refusal_counts_on_either_stream(answer: bytes) -> None:
    """RouterOS 6 says so on stdout, with exit status 0; others may on stderr. A banner may precede it."""
    asking = Asking(COLLECT, None)
    for reply in (
        Reply(SENSITIVE, answer, b"", 0),
        Reply(SENSITIVE, b"", answer, 1),
        Reply(SENSITIVE, b"note\r\n" * 9999 + answer, b"", 0),
    ):
        assert ROS.next_command(asking, [reply]) == PLAIN


@pytest.mark.parametrize("answer", [SIX, SEVEN, b"", SEVEN + b"syntax error\n", b"<html>", SEVEN[:-9]])
def test_anything_else_is_an_answer(answer: bytes) -> None:
    """It keeps its own verdict: another command would only hide why this one failed."""
    assert ROS.next_command(Asking(COLLECT, None), [Reply(SENSITIVE, answer, b"", 0)]) is None


_ANSWERS = st.one_of(
    st.sampled_from([SIX, SIX_HIDDEN, SEVEN, SEVEN_HIDDEN, UNKNOWN, DENIED, b"", b"#interrupted\n", SEVEN[:-3]]),
    st.binary(max_size=200),
    st.builds(lambda a, b: a + b, st.sampled_from([SEVEN, UNKNOWN, DENIED]), st.binary(max_size=50)),
)
_SAID = st.tuples(_ANSWERS, st.sampled_from([b"", b"4f9Zq7\r\n", b"4f9Zq7"]), _ANSWERS, st.none() | st.integers(0, 2))
_ASKING = st.builds(
    Asking,
    st.sampled_from(SecretsPolicy),
    st.none() | st.sampled_from([PLAIN, SENSITIVE, HIDING]) | st.text(max_size=20),
    st.sampled_from([None, NONCE]),
)


@given(_ASKING, st.lists(_SAID, min_size=7, max_size=7))
def test_a_session_ends_whatever_a_router_answers(
    asking: Asking, said: list[tuple[bytes, bytes, bytes, int | None]]
) -> None:
    """Within six commands, none of them twice, and always with a verdict; nothing is raised."""
    replies: list[Reply] = []
    while (command := ROS.next_command(asking, replies)) is not None:
        assert len(replies) < 6
        assert command not in {reply.command for reply in replies}
        stdout, mark, stderr, status = said[len(replies)]
        replies.append(Reply(command, stdout + mark, stderr, status))
    read = ROS.read(asking, replies)
    assert isinstance(read, Incomplete | Reading)
    if isinstance(read, Reading):
        assert read.secrets is Secrets.OMITTED or asking.secrets is COLLECT
        assert not (asking.secrets is OMIT and read.outline.secrets)
        assert any(reply.stdout.startswith(read.raw) for reply in replies)


@given(_ASKING, st.lists(st.builds(Reply, st.text(max_size=30), _ANSWERS, _ANSWERS, st.none()), max_size=9))
def test_replies_to_nothing_that_was_asked_do_no_harm(asking: Asking, replies: list[Reply]) -> None:
    """The session ends all the same, and nothing of theirs is taken for an export."""
    assert len(replies) < 6 or ROS.next_command(asking, replies) is None
    assert isinstance(ROS.read(asking, replies), Incomplete)


def test_without_an_answer_there_is_no_configuration() -> None:
    """A session that broke off before its first answer."""
    assert ROS.read(Asking(COLLECT, None), []) == Incomplete(Reason.NOT_A_CONFIGURATION, "no answer")
