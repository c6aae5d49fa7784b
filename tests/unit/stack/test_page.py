"""What a page tells to type is what is run."""

from __future__ import annotations

import pytest

from tests.stack.move import FILE, HEADING, KEY, PAGE, RECIPIENT
from tests.stack.page import Line, blocks, line
from tests.stack.sources import TREE


def test_a_line_is_read_as_a_shell_reads_it() -> None:
    """What is quoted stays one word, whatever is in it; files are named after < and >."""
    read = line("docker compose run -T --entrypoint sh keeper -c 'cat > /b/monday.age' < monday.age > out.txt  # why")
    words = ("docker", "compose", "run", "-T", "--entrypoint", "sh", "keeper", "-c", "cat > /b/monday.age")
    assert read == Line(words, stdin="monday.age", stdout="out.txt")
    assert line("cat age1…") == Line(("cat", "age1…"))


@pytest.mark.parametrize("text", ["a | b", "a && b", "a; b", "a &", "a >> b", "a >"])
def test_what_is_not_understood_is_refused(text: str) -> None:
    """A line that is half understood would be run, and prove nothing."""
    with pytest.raises(ValueError, match=r"understood|nothing follows"):
        line(text)


def test_the_blocks_are_those_below_the_heading() -> None:
    """Up to the next heading, in the order of the page, without what stands between."""
    own = "words\n```sh\nb\n\nc > d\n```\nmore\n```\ne\n```\n### Small\n```\nf\n```\n"
    page = f"\n## One\n```\na\n```\n## Two\n{own}## Three\n```\ng\n```\n"
    found = blocks(page, "Two")
    assert found == [[Line(("b",)), Line(("c",), stdout="d")], [Line(("e",))], [Line(("f",))]]
    with pytest.raises(ValueError, match="no heading 'Four'"):
        blocks(page, "Four")


def test_the_page_tells_what_the_move_needs() -> None:
    """One block makes the copy and takes it out, the other brings it in; the names are those that the move fills in."""
    out, back = blocks((TREE / PAGE).read_text("utf-8"), HEADING)[:2]
    assert [one.stdout for one in out][-1] == FILE
    assert RECIPIENT in out[0].words
    assert {one.stdin for one in back} == {"", FILE, KEY}
    assert {one.words[:2] for one in (*out, *back)} == {("docker", "compose")}
