"""What import-linter and ruff cannot see of the house rules, read from the files as they lie in the tree."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from backupflow import errors
from backupflow.errors import BackupflowError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
NOT_OURS = {"__pycache__", "build", "dist", "node_modules"}
# Where `except Exception` may stand, and how often: at the end of a loop that must go on.
PROCESS_LOOPS = {
    "backupflow/cli/revive.py": 1,  # the thread of `up` that looks whether its processes work
    "backupflow/cli/nagios.py": 2,  # a plugin ends in one line, whatever happens
    "backupflow/embedded/supervisor.py": 1,
    "backupflow/flows/collect.py": 1,  # what one device meets, and would meet again
    "backupflow/flows/escrow.py": 1,  # what one configuration meets
    "backupflow/flows/ingest.py": 2,  # the batch, then its rows one by one
    "backupflow/flows/interpret.py": 1,  # one change after the other
    "backupflow/flows/verify.py": 1,  # what one export meets
    "backupflow/tasks/app.py": 1,  # the task base class
    "backupflow/tasks/beat.py": 2,  # the tick, and the thread that looks at what claiming depends on
    "backupflow/tasks/flower.py": 1,  # the thread that listens to what workers tell
    "backupflow/tasks/gauges.py": 1,  # the thread that gathers what monitoring is told
    "backupflow/tasks/life.py": 1,  # the thread that says that a process lives
}
VAGUE_NAMES = {
    "base",
    "common",
    "helper",
    "helpers",
    "manager",
    "misc",
    "service",
    "services",
    "shared",
    "util",
    "utils",
}

# Written so that this file does not hold what it looks for.
INDEX_ADDRESS = re.compile(rb"pypi[.]org|pythonhosted[.]org|/simpl[e]/|index[-_]url\s*[=:]|find[-_]links\s*[=:]")
MACHINE_PATH = re.compile(rb"(?<![\w.])/(?:wor[k]|roo[t]|far[m]|User[s])/|/opt/(?:wheel[s]|pyp[i])")


def our_files(folder: Path = ROOT) -> list[Path]:
    """Every file of the tree but caches, build results and hidden folders (.ci is ours)."""
    files: list[Path] = []
    for entry in sorted(folder.iterdir()):
        hidden = entry.name.startswith(".") and entry.name not in {".ci", ".gitignore"}
        if entry.is_symlink() or hidden or entry.name in NOT_OURS or entry.name.endswith(".egg-info"):
            continue
        files += our_files(entry) if entry.is_dir() else [entry]
    return files


def name_of(path: Path) -> str:
    """A path as the tree knows it."""
    return path.relative_to(ROOT).as_posix()


FILES = {name_of(path): path for path in our_files()}
MODULES = [name for name in FILES if name.endswith(".py")]
PACKAGE = [name for name in MODULES if name.startswith("backupflow/")]
TESTS = [name for name in MODULES if name.startswith("tests/")]
FAILURES = {
    thing.__name__: thing
    for thing in vars(errors).values()
    if isinstance(thing, type) and issubclass(thing, BackupflowError) and thing is not BackupflowError
}
CODES = {failure.code for failure in FAILURES.values()}
# Alarms that no failure raises.
ALARMS = {
    "broker_unavailable",
    "capacity",
    "clock_skew",
    "device_down",
    "events_undelivered",
    "flapping",
    "job_late",
    "lane_without_workers",
    "login_refused",
    "look_hangs",
    "overdue",
    "process_deaf",
    "presence_without_ttl",
    "quarantine",
    "retention_braked",
    "row_unusable",
    "secrets_hidden",
    "settings_unusable",
    "site_down",
    "snapshot_damaged",
    "stream_remade",
    "unexpected",
    "wrong_current",
}

# What only the rules of Prometheus tell.
WATCHED = {"figures_stale", "fleet_not_fresh", "process_missing", "system_backup_old"}


@cache
def tree(name: str) -> ast.Module:
    """A module of the tree, parsed once."""
    return ast.parse(FILES[name].read_bytes(), name)


def names_in(node: ast.AST | None) -> set[str]:
    """Every plain or last dotted name that an expression mentions."""
    inside = list(ast.walk(node)) if node else []
    return {n.id for n in inside if isinstance(n, ast.Name)} | {n.attr for n in inside if isinstance(n, ast.Attribute)}


def catch_alls(name: str) -> list[int]:
    """The lines of `except:`, `except Exception` and `except BaseException` that raise nothing again."""
    handlers = [
        node
        for node in ast.walk(tree(name))
        if isinstance(node, ast.ExceptHandler)
        and not any(isinstance(inside, ast.Raise) and inside.exc is None for inside in ast.walk(node))
    ]
    return [node.lineno for node in handlers if not node.type or names_in(node.type) & {"Exception", "BaseException"}]


def find_tests(name: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The test functions of a module, those in classes too."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node


def test_the_walk_sees_the_tree() -> None:
    """A walk that saw nothing would let every other rule of this file pass."""
    assert FILES.keys() >= {"pyproject.toml", "Makefile", ".ci/run", "backupflow/errors.py", "tests/test_house.py"}
    assert len(list(find_tests("tests/test_house.py"))) > 1
    assert "device_timeout" in CODES


def test_every_module_says_what_it_is() -> None:
    """Each module opens with a docstring: one sentence, one room."""
    assert [name for name in MODULES if not ast.get_docstring(tree(name))] == []


def test_no_file_names_a_package_index() -> None:
    """Where packages come from is the business of the machine that installs them."""
    assert [name for name, path in FILES.items() if INDEX_ADDRESS.search(path.read_bytes())] == []


def test_no_file_names_a_path_of_one_machine() -> None:
    """What is committed works wherever it is cloned."""
    assert [name for name, path in FILES.items() if MACHINE_PATH.search(path.read_bytes())] == []


def test_only_a_process_loop_catches_everything() -> None:
    """`except Exception` stands where a process loop must go on; anywhere else it hides what nobody expected."""
    found = {name: catch_alls(name) for name in PACKAGE}
    assert {name: at for name, at in found.items() if len(at) > PROCESS_LOOPS.get(name, 0)} == {}


def test_every_failure_is_in_the_taxonomy() -> None:
    """A failure defined elsewhere would have no runbook page, and no test would walk it."""
    strays = [
        f"{name}: {node.name}"
        for name in PACKAGE
        if name != "backupflow/errors.py"
        for node in ast.walk(tree(name))
        if isinstance(node, ast.ClassDef) and set().union(*map(names_in, node.bases)) & {"BackupflowError", *FAILURES}
    ]
    assert strays == []


def test_modules_have_names_of_the_field() -> None:
    """A vague name gathers strangers; the field has a word for each thing."""
    assert [name for name in MODULES if VAGUE_NAMES & set(name.removesuffix(".py").split("/"))] == []


def test_each_test_says_in_one_sentence_what_must_be_true() -> None:
    """The docstring of a test is the promise that it holds: a sentence, ended."""
    silent = [
        f"{name}: {test.name}"
        for name in TESTS
        for test in find_tests(name)
        if not re.fullmatch(r".+[.!?]", " ".join((ast.get_docstring(test) or "").split()))
    ]
    assert silent == []


def test_no_test_excuses_itself() -> None:
    """A test that may skip or may fail proves nothing: tests/conftest.py fails it, and this finds it unrun."""
    excuses = {"skip", "skipif", "xfail", "importorskip", "SkipTest", "skipTest", "skipUnless", "skipIf"}
    found = [
        f"{name}:{node.lineno}"
        for name in TESTS
        for node in ast.walk(tree(name))
        if isinstance(node, ast.Attribute) and node.attr in excuses
    ]
    assert found == []


def test_tests_are_no_package() -> None:
    """import-mode=importlib finds tests by path: a package marker would give modules two names."""
    assert [name for name in TESTS if name.endswith("__init__.py")] == []


def test_migrations_never_shadow_the_library() -> None:
    """A package marker in alembic/ would hide the library of that name."""
    assert [name for name in MODULES if name.startswith("alembic/") and name.endswith("__init__.py")] == []


def test_each_code_has_a_runbook_page_and_each_page_a_code() -> None:
    """Whoever reads a code at night finds a page of that name, and no page outlives its code."""
    assert {path.stem for path in (ROOT / "docs/runbook").glob("*.md")} - {"index"} == CODES | ALARMS | WATCHED
    rules = (ROOT / "deploy/prometheus/alerts.yml").read_text()
    assert {code for code in WATCHED if f"docs/runbook/{code}.md" in rules} == WATCHED


def test_every_alarm_is_known() -> None:
    """An alarm has a code of its own or that of a failure; both have a page."""
    raised = [re.findall(r"""alarm\((?:tx, )?"(\w+)\"""", FILES[name].read_text()) for name in PACKAGE]
    assert {code for codes in raised for code in codes} <= CODES | ALARMS
    strings = {node.value for name in PACKAGE for node in ast.walk(tree(name)) if isinstance(node, ast.Constant)}
    assert strings >= ALARMS


def test_every_runbook_page_answers_the_same_three_questions() -> None:
    """At night the answer stands at the same place of every page."""
    asked = ["What happened", "What backupflow does by itself", "What to do"]
    pages = {code: (ROOT / "docs/runbook" / f"{code}.md").read_text() for code in CODES | ALARMS | WATCHED}
    assert [code for code, page in pages.items() if not page.startswith(f"# {code}\n")] == []
    assert [code for code, page in pages.items() if re.findall(r"(?m)^## (.+)$", page) != asked] == []
