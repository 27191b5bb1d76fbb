"""What README and docs/ show is run, named settings exist, links lead somewhere, tables are new."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import sys
import tempfile
from pathlib import Path
from statistics import mean
from types import ModuleType
from typing import Annotated, Any, NamedTuple

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

import fairsparse
from benchmarks.__main__ import COMMANDS
from fairsparse.auditing.document import CellRow, Document, MeasureRow
from fairsparse.auditing.gate import DEFAULTS, WORST
from fairsparse.cli import program as cli
from fairsparse.data import DATASETS
from fairsparse.experiments.config import RunConfig
from fairsparse.experiments.options import options_model
from fairsparse.fairness.inference.calibration import GAP
from fairsparse.fairness.measure.degradations import DEGRADATIONS
from fairsparse.fairness.measure.metrics import METRICS
from fairsparse.fairness.notions import NOTIONS
from fairsparse.fairness.steering.budget import Budget
from fairsparse.masks.criteria.registry import CRITERIA
from fairsparse.methods import METHODS
from fairsparse.methods.ballot.settings import Search, Selection
from fairsparse.models import MODELS
from fairsparse.training import Recipe
from fairsparse.training.refinement import Refinement

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
GENERATE = runpy.run_path(str(ROOT / "docs" / "generate.py"))
BLOCK = re.compile(r"^```(\w+) ?([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A fenced block: its language, what follows the language, its text."""

    language: str
    note: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in BLOCK.findall(page.read_text())]


def prose(page: Path) -> str:
    """A page without its blocks and without what is generated."""
    text = BLOCK.sub("", page.read_text())
    return re.sub(r"<!-- generated.*?<!-- end of generated -->", "", text, flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings make."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def program(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    """Run one command line of the program in this process."""
    monkeypatch.setattr(sys, "argv", shlex.split(line, comments=True))
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Blocks of a page build on each other: files in one folder, names in one module.
    monkeypatch.chdir(tmp_path)
    for registry in (METHODS, CRITERIA, MODELS, METRICS, DATASETS, NOTIONS):
        monkeypatch.setattr(registry, "_items", dict(registry._items))
    module = ModuleType(page.stem)
    monkeypatch.setitem(sys.modules, page.stem, module)
    for block in blocks(page):
        if block.language == "yaml":
            assert block.note, "a configuration needs a file name after 'yaml'"
            Path(block.note).write_text(block.text)
        elif block.language == "python":
            code = compile(block.text, f"<{page.name}>", "exec", dont_inherit=True)
            exec(code, module.__dict__)
        elif block.note == "run":
            for line in block.text.splitlines():
                program(monkeypatch, line)
    make_sense(module.__dict__, tmp_path)
    if page.name == "README.md":
        ballot_is_seen_to_help(module.__dict__, tmp_path)


def make_sense(names: dict[str, Any], folder: Path) -> None:
    """Of networks in `names` and `folder`: dense ones are trained, and no class is given up."""
    records = [value.record for value in names.values() if isinstance(value, fairsparse.Result)]
    records += [json.loads(path.read_text()) for path in folder.rglob("record.json")]
    for record in records:
        metrics = record["audit"]["metrics"]
        assert metrics["accuracy"]["reference"]["value"] > 0.75, record["data"]
        worst = metrics["worst_class_accuracy"]
        assert min(worst[side]["value"] for side in ("reference", "candidate")) > 0.3


def ballot_is_seen_to_help(names: dict[str, Any], folder: Path) -> None:
    """In README's two examples, against magnitude pruning and lottery tickets."""

    def average(records: list[dict[str, Any]], name: str, side: str = "candidate") -> float:
        return mean(record["audit"]["metrics"][name][side]["value"] for record in records)

    runs = {
        name: [
            json.loads(path.read_text()) for path in folder.glob(f"runs/my/{name}-*/record.json")
        ]
        for name in ("magnitude", "lth", "ballot")
    }
    assert {len(records) for records in runs.values()} == {3}
    examples = [
        ([names["result"].record], [names["plain"].record]),
        (runs["ballot"], runs["magnitude"]),
        (runs["ballot"], runs["lth"]),
    ]
    for ballot, rival in examples:
        assert average(ballot, "accuracy", "reference") > 0.9
        assert average(ballot, "accuracy") > average(rival, "accuracy") - 0.01
        assert average(ballot, "worst_class_accuracy") > average(rival, "worst_class_accuracy")
        # a good part of the variance, not a hair's breadth of it
        assert average(ballot, "cwv") < 0.8 * average(rival, "cwv")
    told = re.search(
        r"recognises (\d+) % .* and (\d+) % .* at (\d+) %, after Ballot at (\d+) %",
        (ROOT / "README.md").read_text().replace("\n", " "),
    )
    assert told
    ballot, rival = examples[0]
    worst = "worst_class_accuracy"
    reached = (
        average(ballot, "accuracy", "reference"),
        average(ballot, worst, "reference"),
        average(rival, worst),
        average(ballot, worst),
    )
    assert reached == pytest.approx([int(share) / 100 for share in told.groups()], abs=0.06)


def test_what_runs_is_marked() -> None:
    marked = [b for page in PAGES for b in blocks(page) if b.language == "sh" and b.note == "run"]
    assert all(line.startswith("fairsparse ") for b in marked for line in b.text.splitlines())
    others = [b for page in PAGES for b in blocks(page) if b.language == "sh" and not b.note]
    assert not any(line.startswith("fairsparse ") for b in others for line in b.text.splitlines())


def test_commands_name_what_exists() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = "\n".join(page.read_text() for page in PAGES)
    assert set(re.findall(r"^make (\w+)|`make (\w+)`", text, re.MULTILINE)) != set()
    for pair in re.findall(r"^make (\w+)|`make (\w+)`", text, re.MULTILINE):
        assert "".join(pair) in targets
    assert set(re.findall(r"^python -m benchmarks ([a-z-]+)", text, re.MULTILINE)) == set(COMMANDS)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example_runs(
    example: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    make_sense(runpy.run_path(str(example), run_name="__main__"), tmp_path)
    out = capsys.readouterr().out
    assert out
    assert "nan" not in out
    for report in re.findall(r"^Report: (.*)$", out, re.MULTILINE):
        assert Path(report).is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


@pytest.mark.parametrize("name", GENERATE["FILES"])
def test_generated_tables_are_new(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == GENERATE["render"](name), "run: make docs"


def test_the_outline_of_the_command_line_is_new() -> None:
    assert GENERATE["OUTLINE"].read_text() == GENERATE["outlined"](), "run: make docs"


def test_own_words_are_needed() -> None:
    table = (ROOT / "docs" / "configuration.md").read_text()
    for name, text in GENERATE["WORDS"].items():
        assert re.search(rf"^\| `{name}` \|.*\| {re.escape(text)} \|$", table, re.MULTILINE), name


def configurable() -> dict[str, list[Any]]:
    """Every setting -> adapters of the values it can take, wherever it occurs."""
    parts: list[Any] = [RunConfig]
    parts += [options_model(of) for of in (Recipe, Refinement, Budget, Selection, Search)]
    for registry, skip in ((DATASETS, 0), (MODELS, 2), (METHODS, 0)):
        parts += [options_model(registry[name], skip) for name in registry]
    found: dict[str, list[Any]] = {}
    for model in parts:
        assert model is not None
        for name, field in model.model_fields.items():
            hint: Any = Annotated[field.annotation, field]
            found.setdefault(name, []).append(TypeAdapter(hint))
    return found


def test_settings_in_the_text_exist() -> None:
    known = configurable()
    named = 0
    for page in PAGES:
        for path, value in re.findall(r"`(?:--set )?([a-z][\w.]*)=([^`]+)`", prose(page)):
            *parents, name = [part for part in path.split(".") if not part.isdigit()]
            if (name, value) == ("key", "value"):
                continue
            named += 1
            assert all(parent in known for parent in parents), f"{page.name}: {path}"
            if name == "name":
                assert any(value in r for r in (METHODS, DATASETS, MODELS)), f"{page.name}: {value}"
                continue
            assert name in known, f"{page.name}: {path}"
            assert any(_takes(a, yaml.safe_load(value)) for a in known[name]), f"{path}={value}"
    assert named > 20


def _takes(adapter: Any, value: Any) -> bool:
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


def test_names_with_underscores_exist() -> None:
    formulas = {"v_k", "s_k", "a_k", "g_kb"}
    examples = {"user_id"}  # columns of people's own
    states = {"eps_infeasible", "gap_infeasible", *DEFAULTS}
    audited = {*WORST, GAP, "extra_drop"}
    for kind in (Document, CellRow, MeasureRow):
        audited |= kind.__annotations__.keys()
    known = {*configurable(), *MODELS, *METRICS, *DEGRADATIONS, *formulas, *states, *audited}
    known |= examples
    for page in PAGES:
        for name in re.findall(r"`([a-z][a-z0-9]*(?:_[a-z0-9]+)+)`", prose(page)):
            assert name in known, f"{page.name}: {name}"


def test_readme_names_all_there_is() -> None:
    text = (ROOT / "README.md").read_text()
    for registry in (METHODS, DATASETS, MODELS):
        assert [name for name in registry if f"`{name}`" not in text] == []


def sections(page: Path) -> list[tuple[str, str]]:
    """Title and text of every section; a text ends at the next heading of any level."""
    parts = re.split(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_headings_stand_by_themselves(page: Path) -> None:
    text = BLOCK.sub("a block", page.read_text())
    assert re.findall(r"[^\n]\n(#+ .*)$", text, re.MULTILINE) == []


@pytest.mark.parametrize("name", list(METHODS))
def test_each_method_has_one_section_with_its_sources(name: str) -> None:
    all_sections = sections(ROOT / "docs" / "methods.md")
    own = [text for title, text in all_sections if name in title.split(" and ")]
    assert len(own) == 1
    if name == "dense":
        return
    reference = METHODS[name].reference
    sources = re.findall(r"arXiv:[\d.]+", reference)
    sources += re.findall(r"(?:^|; )([A-Z]\w+)(?= et al| &)", reference)
    assert sources, "a reference names authors or an arXiv number"
    assert [source for source in sources if source not in own[0]] == []
    assert "*Published.*" in own[0]
    assert own[0].index(sources[0]) < own[0].find("*This implementation.*")


def test_measures_and_notions_are_explained() -> None:
    measures = (ROOT / "docs" / "measures.md").read_text()
    for metric in (registry[name] for registry in (METRICS, DEGRADATIONS) for name in registry):
        assert f"| {metric.label}, `{metric.name}` | {metric.summary}" in measures
    settings = (ROOT / "docs" / "configuration.md").read_text()
    assert [notion for notion in NOTIONS if f"`{notion}`" not in settings] == []
