"""The closing table: the right numbers, at any width."""

import copy
import io
import json
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from fairsparse.cli.summary import results
from fairsparse.record import Record
from runs import study


def records() -> list[dict[str, Any]]:
    out, _ = study()
    names = ("dense-seed0", "lth-0.8-seed0", "ballot-0.8-seed0", "ballot-2-0.8-seed0")
    return [json.loads((out / name / "record.json").read_text()) for name in names]


def several_seeds(accuracies: list[float]) -> list[dict[str, Any]]:
    """The same runs under other seeds, with other accuracies."""
    made = []
    for seed, accuracy in enumerate(accuracies):
        for record in copy.deepcopy(records()):
            record["seed"] = seed
            record["audit"]["candidate"]["values"]["accuracy"] = accuracy
            made.append(record)
    return made


def with_groups(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for record in given:
        metrics, audit = record["audit"]["metrics"], record["audit"]
        for name in ("accuracy_gap", "equalized_odds"):
            metrics[name] = metrics["mcd"]
            for model in ("reference", "candidate"):
                audit[model]["values"][name] = audit[model]["values"]["mcd"]
    return given


def widest(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same with the longest figures there are, whatever the machine made of the training."""
    for record in given:
        for metric in record["audit"]["metrics"].values():
            for model in ("reference", "candidate"):
                metric[model] |= {"value": 1.0, "low": 1.0, "high": 1.0}
        cwv = {"value": 0.125, "low": 0.12, "high": 0.13}
        for model in ("reference", "candidate"):
            record["audit"]["metrics"]["cwv"][model] |= cwv
    return given


def printed(given: list[dict[str, Any]], width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    records = [Record.model_validate(values) for values in given]
    console.print(results(records, console))
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("groups", [False, True])
@pytest.mark.parametrize("seeds", [1, 3])
def test_nothing_is_cut_or_wrapped(width: int, groups: bool, seeds: int) -> None:
    given = several_seeds([0.9, 0.8, 1.0][:seeds])
    text = printed(widest(with_groups(given) if groups else given), width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    rows = [line.split() for line in text.splitlines() if line.strip()]
    found = {row[0]: row[1] for row in rows if row[0] in ("dense", "lth", "ballot", "ballot-2")}
    assert found == {"dense": "0", "lth": "80", "ballot": "80", "ballot-2": "80"}
    if width == 120:  # intervals are never left out where there is room
        assert "±" in text if seeds > 1 else "[" in text
        assert "intervals are in the report" not in text


def test_one_seed_shows_the_bootstrap_interval_of_the_record() -> None:
    (lth,) = (r for r in records() if r["method"]["name"] == "lth")
    metrics = lth["audit"]["metrics"]
    (line,) = (x for x in printed(records(), 160).splitlines() if x.split()[:1] == ["lth"])
    for name, scale in (
        ("accuracy", 100),
        ("cwv", 1e4),
        ("mcd", 100),
        ("worst_class_accuracy", 100),
    ):
        estimate = metrics[name]["candidate"]
        value, low, high = (f"{estimate[k] * scale:.1f}" for k in ("value", "low", "high"))
        assert f"{value} [{low}, {high}]" in line


def test_several_seeds_show_mean_and_half_width() -> None:
    accuracies = [0.61, 0.55, 0.67]
    low, high = stats.t.interval(
        0.95, 2, loc=np.mean(accuracies), scale=stats.sem(accuracies, ddof=1)
    )
    (line,) = (
        x for x in printed(several_seeds(accuracies), 160).splitlines() if x.split()[:1] == ["lth"]
    )
    assert f"{100 * np.mean(accuracies):.1f} ± {100 * (high - low) / 2:.1f}" in line


def test_an_interval_of_a_share_ends_where_shares_do() -> None:
    made = several_seeds([0.91, 0.85, 0.97])  # 91 ± 14.9
    (line,) = (x for x in printed(made, 160).splitlines() if x.split()[:1] == ["lth"])
    assert "91.0 [76.1, 100.0]" in line


def test_what_forbids_a_verdict_is_told_below_the_table() -> None:
    made = records()
    for record in made:
        record["method"]["options"]["tolerance"] = 1.0
        record["status"] = "feasible"
        record["counts"]["sparse"] = record["counts"]["dense"]
    n = len(made[0]["data"]["class_names"])
    fine = (30 * np.eye(n, dtype=int))[None].tolist()
    for record in made:
        record["counts"] = {"dense": fine, "sparse": fine}
    assert "No verdict" not in printed(made, 160)
    made[1]["status"] = "collapsed"
    assert (
        "No verdict on lth at 80\xa0%: accuracy fell beyond the tolerance on validation."
        in printed(made, 160)
    )


def test_undefined_values_are_said_to_be() -> None:
    given = records()
    for record in given:
        for model in ("reference", "candidate"):
            record["audit"]["metrics"]["mcd"][model] |= {"value": None, "low": None, "high": None}
        record["audit"]["metrics"]["cwv"]["candidate"] |= {"low": None, "high": None}
    text = printed(given, 160)
    assert text.count("undefined") == 4
