"""Published numbers: their settings are the shipped defaults or are printed beside them."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

from benchmarks.tables.settings import HEAD, settings_text
from fairsparse.experiments.plan import make_method

ROOT = Path(__file__).parents[2]
README, RESULTS = (ROOT / name for name in ("README.md", "benchmarks/RESULTS.md"))
Table = list[dict[str, str]]


@cache
def tables(page: Path) -> list[tuple[str, str, Table]]:
    """Section, paragraph before and rows of every table; a row is a dict by the table's head."""
    found, section, text = [], "", ""
    for part in page.read_text().split("\n\n"):
        lines = part.strip().splitlines()
        if lines and re.match("#+ ", lines[0]):
            section = lines[0].lstrip("# ")
        elif lines and lines[0].startswith("|"):
            head, _, *rows = (
                [cell.strip() for cell in re.split(r"(?<!\\)\|", line[1:-1])] for line in lines
            )
            found.append((section, text, [dict(zip(head, row, strict=True)) for row in rows]))
        else:
            text = part
    return found


@cache
def recorded(file: str) -> list[dict[str, Any]]:
    lines = (ROOT / "benchmarks" / "results" / f"{file}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def parts(text: str) -> list[str]:
    """`a=1`, `b=[1, 2]` -> each of them."""
    assert text in ("defaults", "-") or re.fullmatch("(`[^`]+`(, )?)+", text), text
    return re.findall("`([^`]+)`", text)


@cache
def resolved(method: str) -> dict[str, Any]:
    """All settings of a method of a configuration, given as JSON."""
    return make_method(json.loads(method), 0.9).settings()


@cache
def settings(method: str, text: str) -> dict[str, Any]:
    """All settings of a method whose printed ones are given to it, the others as shipped."""
    options: dict[str, Any] = {}
    for name, value in (part.split("=", 1) for part in parts(text)):
        outer, _, inner = name.partition(".")
        if inner:
            options.setdefault(outer, {})[inner] = yaml.safe_load(value)
        else:
            options[name] = yaml.safe_load(value)
    return resolved(json.dumps({"name": method, **options}))


def runs_of(file: str, name: str, text: str, **what: Any) -> list[dict[str, Any]]:
    """Recorded runs of a method on a task, at a sparsity, with the printed settings."""
    wanted = settings(name, text)
    runs = [
        run
        for run in recorded(file)
        if all(run[key] == value for key, value in what.items())
        and run["config"]["methods"][0]["name"] == name
        and resolved(json.dumps(run["config"]["methods"][0])) == wanted
    ]
    # a seed may be recorded twice, or again on a table of a task that replaced another
    return list({run["seed"]: run for run in runs}.values())


def name_of(file: str, **what: Any) -> str:
    """The method behind a variant of a task."""
    (name,) = {
        str(run["config"]["methods"][0]["name"])
        for run in recorded(file)
        if all(run[key] == value for key, value in what.items())
    }
    return name


def same(runs: list[dict[str, Any]], printed: str) -> bool:
    """Whether the runs' mean accuracy in per cent is the number printed."""
    number = printed.split()[0]
    half = 0.5 * 10.0 ** -len(number.partition(".")[2]) + 1e-9
    return abs(100 * mean(run["metrics"]["accuracy"] for run in runs) - float(number)) <= half


def test_the_study_and_its_settings() -> None:
    checked = 0
    for task, _, rows in tables(RESULTS):
        if HEAD not in rows[0] or list(rows[0])[:4] != ["method", "sparsity", "seeds", "accuracy"]:
            continue
        for row in rows:
            what = {"task": task, "variant": row["method"], "sparsity": float(row["sparsity"])}
            runs = runs_of("study", name_of("study", **what), row[HEAD], **what)
            assert len({run["seed"] for run in runs}) == int(row["seeds"]), row
            assert same(runs, row["accuracy"]), row
            checked += 1
    assert checked > 100


def test_the_comparison_and_its_settings() -> None:
    checked = 0
    for section, _, rows in tables(RESULTS):
        if not section.startswith("All methods: "):
            continue
        for row in rows:
            for sparsity in ("0.7", "0.8", "0.9", "0.95"):
                printed = row[f"{sparsity}: accuracy"]
                if printed == "-":
                    continue
                at = 0.0 if row["method"] == "dense" else float(sparsity)
                what = {
                    "task": section.removeprefix("All methods: "),
                    "method": row["method"],
                    "sparsity": at,
                }
                name = name_of("compare", **what)
                assert same(runs_of("compare", name, row[HEAD], **what), printed), (what, row)
                checked += 1
    assert checked > 400


def test_short_runs_and_their_settings() -> None:
    (rows,) = [r for section, _, r in tables(RESULTS) if "costs in iterations" in section]
    assert len(rows) > 40
    for row in rows:
        name = row["method"].split(",")[0]
        runs = runs_of("compare", name, row[HEAD], task=row["task"], sparsity=0.9)
        assert same(runs, row["accuracy"]), row


def test_every_set_and_its_settings() -> None:
    (rows,) = [r for section, _, r in tables(RESULTS) if section.startswith("Every real data set")]
    for row in rows:
        runs = runs_of("sets", row["method"], row[HEAD], task=row["set"], variant=row["method"])
        assert len(runs) == int(row["seeds"])
        assert same(runs, row["accuracy"])


def summary() -> dict[tuple[str, str, str], dict[str, str]]:
    """Task, sparsity and measure -> row of the first table of the results."""
    (rows,) = [r for _, _, r in tables(RESULTS) if "Ballot against LTH" in r[0]]
    return {(row["task"], row["sparsity"], row["measure"]): row for row in rows}


def test_the_summary_has_the_settings_of_the_study() -> None:
    study = {
        (task, row["method"], row["sparsity"]): row[HEAD]
        for task, _, rows in tables(RESULTS)
        for row in rows
        if HEAD in row and "sparsity" in row and "method" in row
    }
    for (task, sparsity, _), row in summary().items():
        methods = ("ballot", "magnitude", "lth")
        assert row[HEAD] == "; ".join(f"{m}: {study[task, m, sparsity]}" for m in methods)


TASKS = {
    "Adult, `mlp`, sex": "adult-sex",
    "Adult, `mlp`, race": "adult-race",
    "Fashion-MNIST, `small-cnn`, class": "fashion-mnist",
    "CIFAR-100 coarse, `resnet20`, class": "cifar-100-coarse",
    "UTKFace gender, `small-cnn`, race": "utkface-race",
}
MEASURES = {
    "equalized odds": "equalized_odds",
    "CWV": "cwv",
    "accuracy gap": "accuracy_gap",
}
COMPARED = {
    "Adult": ["adult-sex"],
    "Fashion-MNIST": ["fashion-mnist"],
    "UTKFace": ["utkface-race"],
    "LFW Big_Nose, Wavy_Hair": ["lfw-big-nose", "lfw-wavy-hair"],
    "LFW Smiling": ["lfw-smiling"],
}
METHODS = {
    "Ballot": "ballot",
    "LTH": "lth",
    "SafeCompress": "safecompress",
    "Fair Scratch Tickets": "fair-scratch",
    "BiFP": "bifp",
    "SNIP": "snip",
    "FPGM": "fpgm",
    "pruning, then fair training": "prune-then-fair",
}


def agree(readme: str, text: str, results: str) -> None:
    """A cell of the README has all settings of the results', but for rounds, which `text` has."""
    rest = set(parts(results)) - set(parts(readme))
    assert set(parts(readme)) <= set(parts(results))
    assert all(part.startswith("levels=") and f"`{part}`" in text for part in rest), rest


def test_the_first_table_of_the_readme() -> None:
    rivals = {"Ballot": "ballot", "LTH": "lth", "magnitude": "magnitude"}
    ((_, _, numbers),) = [t for t in tables(README) if "against LTH" in t[2][0]]
    ((_, text, chosen),) = [t for t in tables(README) if "LTH" in t[2][0]]
    assert [row["data, model, cells compared"] for row in chosen] == list(TASKS)
    by_task = {TASKS[row["data, model, cells compared"]]: row for row in chosen}
    task = ""
    for row in numbers:
        task = TASKS.get(row["data, model, cells compared"], task)
        result = summary()[task, row["sparsity"], MEASURES[row["measure"]]]
        assert row["seeds"] == result["seeds"]
        assert row["against magnitude"] == result["Ballot against magnitude"]
        assert row["against LTH"] == result["Ballot against LTH"]
        assert row["accuracy"] == result["accuracy against LTH, points"]
        printed = dict(part.split(": ", 1) for part in result[HEAD].split("; "))
        for name, method in rivals.items():
            agree(by_task[task][name], text, printed[method])
    assert task == "utkface-race"


UNITS = {
    "Fashion-MNIST, class": "fashion-mnist",
    "Adult, sex": "adult-sex",
    "UTKFace gender, race": "utkface-race",
    "LFW Wavy_Hair, gender": "lfw-wavy-hair",
    "LFW Big_Nose, gender": "lfw-big-nose",
    "LFW Smiling, gender": "lfw-smiling",
}


def task_by_task(of: str) -> dict[tuple[str, str], dict[str, str]]:
    """Task and measure -> row of a table of RESULTS whose rows are tasks, seeds nested in them."""
    (rows,) = [r for section, _, r in tables(RESULTS) if section == f"Ballot against {of}"]
    return {(row["task"], row["measure"]): row for row in rows}


def test_what_the_readme_says_of_tasks_is_nested_by_seed() -> None:
    results = task_by_task("the others, task by task")
    ((_, _, rows),) = [t for t in tables(README) if "against SafeCompress" in t[2][0]]
    assert len(rows) == len(results)
    for row in rows:
        result = results[
            UNITS[row["data, cells compared"]], {**MEASURES, "MCD": "mcd"}[row["measure"]]
        ]
        assert row["against SafeCompress"] == result["safecompress"]
        assert row["against Fair Scratch Tickets"] == result["fair-scratch"]
    by_class = task_by_task("its rivals, task by task")
    (text,) = re.findall(
        "The paper claims.+?With the default", " ".join(README.read_text().split())
    )
    figures = re.findall(r"-\d+ ± \d+ %", text)
    assert figures == [
        by_class[task, measure][rival].split(" (")[0]
        for rival in ("lth", "magnitude")
        for task in ("fashion-mnist", "cifar-100-coarse")
        for measure in ("cwv", "mcd")
    ]
    accuracy = [by_class[t, "cwv"]["lth"] for t in ("fashion-mnist", "cifar-100-coarse")]
    for change in accuracy:
        assert f"for {change.split(' (-')[1].rstrip(')')} points" in text


def test_pooled_figures_have_tasks_as_units() -> None:
    lines = re.findall(r"^- per (.+)$", RESULTS.read_text(), re.M)
    pooled = {line.split(", ")[2].split(":")[0]: line for line in lines if "±" in line}
    assert all("±" in line or "too few to pool" in line for line in lines)
    assert all(re.search(r" over (\d+) tasks", line)[1] >= "5" for line in pooled.values())
    text = " ".join(README.read_text().split())
    for rival, name in (("safecompress", "SafeCompress"), ("fair-scratch", "Fair Scratch Tickets")):
        figure = re.search(r"-\d+ ± \d+ %", pooled[f"against {rival}"])[0]
        assert re.search(rf"by {figure} against {name}", text)


def test_the_settings_of_the_comparison_in_the_readme() -> None:
    ((_, text, rows),) = [t for t in tables(README) if "LFW Smiling" in t[2][0]]
    results = {
        (section.removeprefix("All methods: "), row["method"]): row[HEAD]
        for section, _, others in tables(RESULTS)
        for row in others
        if section.startswith("All methods: ")
    }
    assert [row[""] for row in rows] == list(METHODS)
    for row in rows:
        for column, tasks in COMPARED.items():
            for task in tasks:
                method = METHODS[row[""]]
                if row[column] == "-":
                    assert (task, method) not in results
                else:
                    agree(row[column], text, results[task, method])


def test_settings_as_text() -> None:
    plain = {"name": "ballot", "retries": 0, "rewind": "weights", "refinement": {}}
    assert settings_text(plain) == "defaults"
    options = {"rewind": "lr", "refinement": {"strength": 0.5, "offsets": True, "distill": 0.0}}
    assert settings_text({"name": "ballot", **options}) == (
        "`refinement.offsets=true`, `refinement.distill=0`, `search.rewind=lr`"
    )
    assert settings_text({"name": "lth", "levels": [0.5], "refinement": {"form": "weights"}}) == (
        "`levels=[0.5]`, `refinement={}`"
    )
