"""The tables of a run's report, ready to print."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pandas as pd

from fairsparse.report import phrases
from fairsparse.report.phrases import Number, Record, between, number, percent

Entry: TypeAlias = str | tuple[str, str] | dict[str, str]
"""A text, a text with a small line below it, or a link (``text``, ``href``)."""

FOLD = 20
"""Longer tables are shown on demand."""
MOST_ROWS = 200
"""Cells of one table of a page."""


@dataclass(frozen=True)
class Table:
    """A table as the templates take it.

    Parameters
    ----------
    caption : str
    head : sequence of str
    rows : sequence of sequences of Entry
        The first entry of a row names it.
    text : tuple of int
        Columns that hold words and not numbers.
    folded : str
        What to show in its place until it is opened; empty to show it at once.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Entry]]
    text: tuple[int, ...] = ()
    folded: str = ""


def measures(record: Record) -> Table:
    """Every measure of both networks with intervals, the change, and what it tells."""
    audit = record["audit"]
    rows: list[list[Entry]] = []
    grouped = len(record["data"]["group_names"]) >= 2
    for metric in phrases.ordered(audit["metrics"]):
        if not grouped and not phrases.about(metric).told_of(groups=False):
            continue
        estimates = audit["metrics"][metric]
        note = _undefined(metric, audit["candidate"]["undefined"])
        row = measure(metric, estimates, estimates.get("p_adjusted"), note)
        rows.append([*row, phrases.reading(metric, estimates["change"])])
    head = ["measure", "dense", "sparse", "change", "adjusted p", "reading"]
    caption = f"Dense and sparse network on {audit['n']:,} test examples, with 95 % intervals"
    unknown = audit["candidate"]["n_unknown"]
    if unknown:
        caption += f"; the group of {unknown:,} of them is unknown, and they count in no group"
    return Table(caption, head, rows, text=(5,))


def measure(
    metric: str, estimates: Mapping[str, Any], p: Number = None, note: str = ""
) -> list[Entry]:
    """The row of a measure: reference, candidate, change, adjusted p; dashes for what it lacks."""
    value, change = phrases.value_form(metric), phrases.change_form(metric)
    candidate = estimates["candidate"]
    about = phrases.about(metric).summary
    if phrases.defined(candidate.get("floor")):
        about += f" Sampling alone makes about {value(candidate['floor'])} of it."
    if candidate.get("how") == "all cells at once":
        about += " Interval: all cells at once."
    forms = {"reference": value, "candidate": value, "change": change}
    return [
        (phrases.label(metric), about + note),
        *(estimate(estimates[r], form) if r in estimates else "–" for r, form in forms.items()),
        phrases.p_value(p),
    ]


def _undefined(metric: str, undefined: dict[str, list[str]]) -> str:
    return f" It is {phrases.lacking(undefined[metric])}." if metric in undefined else ""


def estimate(one: Mapping[str, Number], form: Callable[[Number], str]) -> Entry:
    """A value with its interval below it."""
    if not phrases.defined(one["value"]):
        return phrases.UNDEFINED
    return form(one["value"]), between(one["low"], one["high"], form)


def degradation(record: Record) -> Table:
    """How unequally the drop in accuracy falls on the cells."""
    audit = record["audit"]
    rows: list[list[Entry]] = [
        [
            (phrases.label(m), phrases.about(m).summary + _undefined(m, audit["undefined"])),
            estimate(audit["degradation"][m], phrases.value_form(m)),
        ]
        for m in phrases.ordered(audit["degradation"])
    ]
    rows.append([("churn", "Share of the predictions that differ."), percent(audit["churn"])])
    return Table(
        "How unequally the drop in accuracy falls, with 95 % intervals",
        ["measure", "value"],
        [] if phrases.is_dense(record) else rows,
    )


def cells(record: Record) -> list[Table]:
    """A table of cells for each kind."""
    frame = cell_frame(record["audit"]["cells"])
    return [
        cell_table(frame[frame["attribute"] == kind], kind, ("dense", "sparse"), "record.json")
        for kind in dict.fromkeys(frame["attribute"])
    ]


def cell_frame(cells: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Cells of a run's record as an audit has them; older records have no findings."""
    frame = pd.DataFrame([{"finding": "–", **cell} for cell in cells])
    return frame.rename(columns={"kind": "attribute", "name": "cell"})


def cell_table(frame: pd.DataFrame, kind: str, models: tuple[str, str], file: str) -> Table:
    """Cells of one kind, the largest excess drop first; more than `MOST_ROWS` are in a file."""
    ordered = frame.sort_values("excess_drop", ascending=False, na_position="last", kind="stable")
    title = f"By {kind}: {phrases.plural(len(frame), 'cell')}, the largest excess drop first"
    if len(frame) > MOST_ROWS:
        title += f"; the first {MOST_ROWS}, all are in {file}"
    head = [
        kind, "n", *models, "drop, points", "excess drop, points", "lost / gained",
        "adjusted p of flips", "adjusted p of excess", "finding",
    ]  # fmt: skip
    rows = [_cell(row) for row in ordered.head(MOST_ROWS).to_dict("records")]
    return Table(title, head, rows, text=(9,), folded=title if len(rows) > FOLD else "")


def _cell(cell: Mapping[Any, Any]) -> list[Entry]:
    return [
        cell["cell"],
        f"{cell['n']:,}",
        percent(cell["reference"], 1),
        percent(cell["candidate"], 1),
        bounded(cell["drop"], cell["low"], cell["high"]),
        bounded(cell["excess_drop"], cell["excess_low"], cell["excess_high"]),
        f"{cell['lost']:,} / {cell['gained']:,}",
        phrases.p_value(cell["p_adjusted"]),
        phrases.p_value(cell["excess_p_adjusted"]),
        cell["finding"],
    ]


def bounded(value: Number, low: Number, high: Number) -> Entry:
    """A difference in points, without the unit, with its interval below it."""
    if not phrases.defined(value):
        return phrases.UNDEFINED
    return bare(value), between(low, high, bare)


def bare(value: Number) -> str:
    """A difference in points, without the unit."""
    return number(value if value is None else 100 * value, ".1f")


def layers(record: Record) -> Table:
    """What is left of each layer."""
    found = record["model"]["layers"]
    rows: list[list[Entry]] = [
        [
            layer["name"],
            " x ".join(str(size) for size in layer["shape"]),
            f"{layer['total']:,}",
            f"{layer['kept']:,}",
            phrases.sparsity(1 - layer["kept"] / layer["total"]),
        ]
        for layer in found
    ]
    size = record["sparsity"]
    caption = (
        f"Prunable weights by layer: {size['kept']:,} of {size['total']:,} are left;"
        f" the model has {record['model']['parameters']:,} parameters in all"
    )
    head = ["layer", "shape", "weights", "left", "sparsity"]
    folded = f"{phrases.plural(len(found), 'layer')} in numbers" if len(found) > FOLD else ""
    return Table(caption, head, rows, text=(1,), folded=folded)


def rounds(record: Record) -> Table:
    """What the method logged in each pruning round; nested entries are left out."""
    found = record["rounds"]
    keys = [k for k in dict.fromkeys(key for entry in found for key in entry) if k != "sparsity"]
    flat = [k for k in keys if not any(isinstance(e.get(k), (dict, list)) for e in found)]
    rows = [
        [
            phrases.sparsity(entry["sparsity"]) if "sparsity" in entry else f"round {i + 1}",
            *(_plain(entry.get(key)) for key in flat),
        ]
        for i, entry in enumerate(found)
    ]
    title = f"What the method logged in {phrases.plural(len(found), 'pruning round')}"
    return Table(title, ["sparsity", *(k.replace("_", " ") for k in flat)], rows, folded=title)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (
        number(value, ".5g") if isinstance(value, float) else "–" if value is None else str(value)
    )


def stages(record: Record) -> Table:
    """The last epoch of every stage of training."""
    last: dict[str, dict[str, Any]] = {}
    epochs: dict[str, int] = {}
    for entry in record["history"]:
        last[entry["stage"]] = entry
        epochs[entry["stage"]] = epochs.get(entry["stage"], 0) + 1
    seconds = record["timings"]
    rows: list[list[Entry]] = [
        [
            stage,
            str(epochs[stage]),
            number(entry["loss"], ".4f"),
            percent(entry["accuracy"]),
            (percent(entry["worst"]), entry["worst_cell"]),
            number(seconds.get(stage), ".1f", "s") if stage in seconds else "–",
        ]
        for stage, entry in last.items()
    ]
    title = f"The last epoch of {phrases.plural(len(rows), 'training stage')}"
    head = ["stage", "epochs", "loss", "accuracy", "worst cell", "time"]
    return Table(title, head, rows, folded=title if len(rows) > 8 else "")


def cost(record: Record) -> Table:
    """Steps and seconds, and how many dense trainings they equal."""
    steps, dense_steps = record["cost"]["steps"], record["cost"]["dense_steps"]
    seconds, dense_seconds = record["timings"]["total"], record["timings"].get("dense")
    rows = [
        ["training steps", f"{dense_steps:,}", f"{steps:,}", ratio(steps, dense_steps)],
        [
            "seconds",
            "–" if dense_seconds is None else number(dense_seconds, ",.1f"),
            number(seconds, ",.1f"),
            ratio(seconds, dense_seconds),
        ],
    ]
    caption = "The whole run, dense training included, against the dense training alone"
    return Table(caption, ["", "dense training", "whole run", "ratio"], rows)


def ratio(value: Number, base: Number) -> str:
    """How many times `base` a value is; a dash where there is nothing to compare with."""
    return number(value / base, ".2f", "x") if value is not None and base else "–"


def validation(record: Record) -> Table:
    """What the method could see while it chose."""
    found = record["validation"]
    rows = [
        [
            "validation accuracy",
            *(percent(found[role]["accuracy"]) for role in ("dense", "sparse")),
        ],
        ["variance over cells", *(phrases.fraction(found[r]["variance"]) for r in found)],
        ["range over cells", *(percent(found[role]["range"]) for role in found)],
    ]
    caption = "On the validation split, from which the method chose: no unbiased measure"
    return Table(caption, ["", "dense", "sparse"], rows)


def facts(record: Record, several: bool = False) -> Table:
    """Data, fingerprint, method and environment."""
    data, method = record["data"], record["method"]
    rows: list[list[Entry]] = [
        ["data", f"{data['name']}, fingerprint {data['fingerprint']}"],
        ["examples", ", ".join(f"{name} {n:,}" for name, n in data["sizes"].items())],
        ["classes", f"{len(data['class_names'])}: {phrases.listing(data['class_names'], 12)}"],
    ]
    if data["group_names"]:
        by = f" by {', '.join(data['attributes'])}" if data["attributes"] else ""
        names = phrases.listing(data["group_names"], 12)
        rows.append([f"groups{by}", f"{len(data['group_names'])}: {names}"])
    if not several:
        rows.append(["method", f"{method['name']}: {method['summary']}"])
        rows.append(["reference", method["reference"]])
        rows.append(["seed", str(record["seed"])])
    rows += [[name, str(value)] for name, value in record["environment"].items()]
    return Table("What this rests on", [], rows, text=(1,))
