"""Who may import whom: data flows down, and siblings do not know each other."""

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import fairsparse.core

SOURCE = Path(fairsparse.core.__file__).parent
LEVELS = (
    {"core", "registry", "checkpoint", "yamls", "_version"},
    {"data", "models", "masks", "fairness"},
    {"training", "record"},
    {"methods", "auditing"},
    {"explain"},
    {"report"},
    {"experiments"},
    {"cli", "pytest_plugin"},
    {"__main__"},
    {"__init__"},
)
LEVEL = {unit: level for level, units in enumerate(LEVELS) for unit in units}
MODULES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))
# files and packages of methods/ that hold a method; the others are what methods share
METHOD_UNITS = {
    path.relative_to(SOURCE / "methods").with_suffix("").parts[0]
    for path in (SOURCE / "methods").rglob("*.py")
    if "\n@METHODS.register(" in path.read_text()
}


def imported(source: str, package: str = "fairsparse") -> set[tuple[str, ...]]:
    """Paths within the package of everything a source imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        # importing the package itself is importing its root
        inside = [name.split(".")[1:] for name in names if name.split(".")[0] == package]
        found |= {tuple(path) or ("__init__",) for path in inside}
    return found


def unit_of(path: tuple[str, ...]) -> str:
    # a name of the root module, such as a re-exported class, belongs to the root
    return path[0] if path[0] in LEVEL else "__init__"


def violations(module: Path, source: str) -> list[str]:
    parts = module.with_suffix("").parts
    unit = parts[0]
    wrong = []
    for path in imported(source):
        target = unit_of(path)
        if target == unit:
            inside = unit == "methods" and parts[1] != "__init__"
            if inside and path[1] in METHOD_UNITS - {parts[1]}:
                wrong.append(f"{module}: imports the method {'.'.join(path)}")
        elif not (LEVEL[target] < LEVEL[unit] or LEVEL[target] == LEVEL[unit] == 0):
            wrong.append(f"{module}: {unit} imports {'.'.join(path)}")
    return wrong


def test_every_part_of_the_package_has_a_level() -> None:
    assert {module.with_suffix("").parts[0] for module in MODULES} - LEVEL.keys() == set()
    assert len(MODULES) > 30
    assert {"lth", "ballot"} <= METHOD_UNITS
    assert not METHOD_UNITS & {"method", "shared", "__init__"}


def modules_of(sources: dict[tuple[str, ...], str]) -> dict[tuple[str, ...], set[tuple[str, ...]]]:
    """Module -> modules of the package that it imports, anywhere in the file."""
    graph = {}
    for module, source in sources.items():
        paths = imported(source)
        targets = {p if p in sources else p[:-1] for p in paths}
        # a package that is imported from is its __init__, which stands for all that it imports
        targets = {t if t in sources else (*t, "__init__") for t in targets}
        graph[module] = (targets & sources.keys()) - {module}
    return graph


def test_there_is_no_circle() -> None:
    sources = {m.with_suffix("").parts: (SOURCE / m).read_text() for m in MODULES}
    del sources[("__init__",)]  # looks its names up when they are asked for
    assert set(TopologicalSorter(modules_of(sources)).static_order()) == set(sources)


def test_a_circle_is_noticed() -> None:
    sources = {
        ("methods", "a"): "from fairsparse.methods.b import B",
        ("methods", "b"): "if TYPE_CHECKING:\n    from fairsparse.methods import a",
    }
    with pytest.raises(CycleError):
        TopologicalSorter(modules_of(sources)).prepare()


def test_no_file_shadows_the_standard_library() -> None:
    # Python puts the folder that it runs in first
    names = {part for module in MODULES for part in module.with_suffix("").parts[-1:]}
    assert names & sys.stdlib_module_names <= {"__init__", "__main__"}


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_point_down(module: Path) -> None:
    assert violations(module, (SOURCE / module).read_text()) == []


@pytest.mark.parametrize("module", [m for m in MODULES if m.parts[0] == "data"], ids=str)
def test_data_knows_no_networks(module: Path) -> None:
    tree = ast.parse((SOURCE / module).read_text())
    assert not any(
        isinstance(n, ast.alias) and n.name in ("nn", "torch.nn") for n in ast.walk(tree)
    )


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("masks/a.py", "from fairsparse.fairness.cells import Cells"),
        ("fairness/a.py", "import fairsparse.masks.selection"),
        ("fairness/a.py", "from fairsparse import masks"),
        ("data/a.py", "def f():\n    from fairsparse.training import Trainer"),
        ("training/a.py", "from fairsparse.methods.method import Method"),
        ("auditing/a.py", "from fairsparse.methods import METHODS"),
        ("methods/lth.py", "from fairsparse.methods.ballot.method import Ballot"),
        ("methods/lth.py", "from fairsparse.methods import ballot"),
        ("methods/refine.py", "from fairsparse.methods import lth"),
        ("experiments/a.py", "from fairsparse import Task"),
        ("experiments/a.py", "import fairsparse"),
        ("core.py", "from fairsparse.masks.maskset import MaskSet"),
        ("auditing/a.py", "from fairsparse.report import phrases"),
        ("explain/a.py", "from fairsparse.report.plots import svg"),
    ],
)
def test_the_rule_notices(module: str, source: str) -> None:
    assert len(violations(Path(module), source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("masks/a.py", "from fairsparse.masks.maskset import MaskSet\nimport torch, fairsparsely"),
        ("registry.py", "from fairsparse.core import InputError"),
        ("methods/lth.py", "from fairsparse.methods.shared.criterion import masks_of"),
        ("methods/__init__.py", "from fairsparse.methods import ballot, lth"),
        ("cli/program.py", "from fairsparse import _version"),
        ("methods/ballot/ballot.py", "from fairsparse.methods.ballot.conflict import combine"),
        ("__init__.py", "from fairsparse.experiments.run import run"),
    ],
)
def test_the_rule_allows(module: str, source: str) -> None:
    assert violations(Path(module), source) == []


BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
# what is not named is a measurement that stands alone
BENCHMARK_LEVEL = {"records": 0, "measure": 0, "plans": 1, "runs": 2, "audits": 3, "__main__": 4}


def check_benchmarks(sources: dict[tuple[str, ...], str]) -> None:
    """Plans, then what runs them and what tells of them, then commands; and no circle."""
    graph: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for module, source in sources.items():
        paths = imported(source, "benchmarks")
        graph[module] = {m for m in sources for path in paths if path[: len(m)] == m}
        for target in graph[module]:
            up, down = (BENCHMARK_LEVEL.get(part[0], 2) for part in (module, target))
            assert down < up or module[0] == target[0], f"{module} imports {target}"
    TopologicalSorter(graph).prepare()


def test_benchmarks_import_down_and_in_no_circle() -> None:
    paths = [path.relative_to(BENCHMARKS) for path in BENCHMARKS.rglob("*.py")]
    sources = {path.with_suffix("").parts: (BENCHMARKS / path).read_text() for path in paths}
    assert {("runs",), ("plans", "base"), ("tables", "text")} <= sources.keys()
    check_benchmarks(sources)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (("runs",), "from benchmarks.tables import text"),
        (("tables", "text"), "from benchmarks.runs import run_one"),
        (("scale",), "def f():\n    from benchmarks.bootstrap import simulate"),
        (("plans", "base"), "from benchmarks.plans import study"),
    ],
)
def test_the_rule_for_benchmarks_notices(module: tuple[str, ...], source: str) -> None:
    sources = {module: source, ("plans", "study"): "from benchmarks.plans.base import Job"}
    others = [("plans", "base"), ("tables", "text"), ("runs",), ("bootstrap",)]
    with pytest.raises((AssertionError, CycleError)):
        check_benchmarks({**dict.fromkeys(others, ""), **sources})
