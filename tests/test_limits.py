"""What one can read in a sitting: functions of at most 60 lines and 8 parameters."""

import ast
from collections.abc import Iterator
from pathlib import Path

import fairsparse.core

SOURCE = Path(fairsparse.core.__file__).parent
LINES, PARAMETERS = 60, 8
# the parameters of a command, and of these two, are the options that people write
PUBLIC = {("experiments/prune.py", "prune"), ("data/own/task.py", "task")}
COMMANDS = "cli/"


def too_much(path: str, source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef):
            continue
        lines = (node.end_lineno or 0) - node.lineno + 1
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        names = [argument.arg for argument in given if argument.arg not in ("self", "cls")]
        if lines > LINES:
            yield f"{path}: {node.name} has {lines} lines"
        spared = (path, node.name) in PUBLIC or path.startswith(COMMANDS)
        if len(names) > PARAMETERS and not spared:
            yield f"{path}: {node.name} has {len(names)} parameters"


def test_every_function_can_be_read() -> None:
    paths = sorted(SOURCE.rglob("*.py"))
    assert len(paths) > 100
    wrong = [
        line
        for path in paths
        for line in too_much(path.relative_to(SOURCE).as_posix(), path.read_text())
    ]
    assert wrong == []


def test_the_limits_are_noticed() -> None:
    long = "def f():\n" + "    x = 1\n" * 60
    wide = "def f(self, a, b, c, d, e, *, f, g, h, i): ..."
    assert len(list(too_much("a.py", long))) == 1
    assert len(list(too_much("a.py", wide))) == 1
    assert list(too_much("cli/a.py", wide)) == []
    assert list(too_much("a.py", wide.replace(", i", ""))) == []
