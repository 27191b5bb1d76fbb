"""An explanation as files: HTML to read, JSON and CSV to compute with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from fairsparse._version import __version__
from fairsparse.auditing.document import rows as json_rows
from fairsparse.auditing.document import safe_csv
from fairsparse.checkpoint import write_json, write_text
from fairsparse.explain.agreement import ALL
from fairsparse.explain.explanation import PRUNED, RANDOM, Explanation
from fairsparse.explain.loss_path import Line
from fairsparse.report import phrases, table
from fairsparse.report.explain import pictures
from fairsparse.report.explain.sentences import method, paragraphs
from fairsparse.report.page import Part, Section, render, words
from fairsparse.report.phrases import Record, number
from fairsparse.report.plots import (
    AFTER,
    BEFORE,
    MOST_CELLS,
    MUTED,
    Plot,
    intervals,
    legend,
    plot,
    rows,
    short,
)
from fairsparse.report.table import Cell, Column, Entry, Table

FORMAT = "fairsparse-explain/1"
"""Of explain.json; a change that readers would notice changes the number."""


def write(explanation: Explanation, folder: Path) -> Path:
    """Write report.html, explain.json and heatmaps.csv (a row for each sampled example)."""
    write_text(folder / "heatmaps.csv", safe_csv(sampled(explanation)))
    write_text(folder / "report.html", html(explanation))
    write_json(folder / "explain.json", document(explanation))
    return folder


def sampled(explanation: Explanation) -> pd.DataFrame:
    """The sample: rows of the test split, whose they are, and the correlations of their maps."""
    table = explanation.agreement.examples.rename(columns={"y": "class"})
    table.insert(0, "index", explanation.index)
    table["weight"] = explanation.weights
    return table


def document(explanation: Explanation) -> dict[str, Any]:
    """All numbers, as JSON can hold them; null where there is none."""
    record, line = explanation.record, explanation.line
    return {
        "format": FORMAT,
        "fairsparse": __version__,
        "run": explanation.run,
        "data": {key: record["data"][key] for key in ("name", "fingerprint")},
        "network": phrases.model_name(record),
        "method": record["method"]["name"],
        "sparsity": record["sparsity"]["measured"],
        "maps": explanation.method,
        "seed": explanation.seed,
        "sample": len(explanation.index),
        "cells": json_rows(explanation.agreement.cells),
        "difference": json_rows(pd.DataFrame([explanation.difference._asdict()]))[0],
        "flips": explanation.flips,
        "shown": [
            {
                "index": shown.index,
                "class": shown.y,
                "group": shown.group,
                "predicted": {n: name for n, (name, _) in shown.predicted.items()},
                "correlation": json_rows(pd.DataFrame([dict(shown.correlation)]))[0],
            }
            for shown in explanation.shown
        ],
        "line": None
        if line is None
        else {
            "to": explanation.other,
            "at": line.at.tolist(),
            "loss": line.loss.tolist(),
            "error": line.error.tolist(),
            "barrier": line.barrier,
            "error_barrier": line.error_barrier,
        },
    }


def html(explanation: Explanation) -> str:
    """The report: one file without outside parts and without scripts."""
    record, cells = explanation.record, _both(explanation.agreement.cells)
    reached = phrases.sparsity(record["sparsity"]["measured"])
    return render(
        title=f"{phrases.model_name(record)} on {record['data']['name']}: what it looks at",
        lead=f"Heat maps before and after {record['method']['name']}, {reached} sparse.",
        sections=[
            Section("", [*words(paragraphs(explanation)), _correlations(cells)]),
            Section("What the networks look at", _examples(explanation)),
            Section("From one pruned network to another", _valley(explanation)),
            Section("How alike the maps are, for whom", _tables(cells)),
            Section("How this was found", [*method(explanation), _facts(explanation)]),
        ],
    )


def _examples(explanation: Explanation) -> list[Part]:
    if explanation.shown:
        examples = [pictures.example(shown, explanation) for shown in explanation.shown]
        return [pictures.legend(explanation), *(part for parts in examples for part in parts)]
    why = (
        "none was asked for."
        if explanation.flips
        else "the pruned network gets everything right that the dense one does."
    )
    return [f"No test example is shown: {why}"]


def _both(cells: pd.DataFrame) -> list[Cell]:
    """Cells with the rows of both networks, and the correlation of the pruned one."""
    pruned, random = (cells[cells["network"] == n].to_dict("records") for n in (PRUNED, RANDOM))
    return [
        {
            "kind": row["attribute"],
            "name": row["cell"],
            "n": row["n"],
            "correlation": row["correlation"],
            PRUNED: row,
            RANDOM: other,
        }
        for row, other in zip(pruned, random, strict=True)
    ]


def _tables(cells: Sequence[Cell]) -> list[Table]:
    """Correlations of all examples, and of each kind of cells."""
    everyone = next(cell for cell in cells if cell["kind"] == ALL)
    total = table.of(
        f"All {everyone['n']:,} sampled examples, with 95 % intervals",
        (PRUNED, RANDOM),
        [
            Column("network", lambda network: network),
            Column("correlation", lambda network: _correlation(everyone[network])),
            Column("shift", lambda network: number(everyone[network]["shift"], ".3f")),
            Column("constant maps", lambda network: f"{everyone[network]['constant']:,}"),
        ],
    )
    columns = [
        Column("pruned", lambda c: _correlation(c[PRUNED])),
        Column("shift", lambda c: number(c[PRUNED]["shift"], ".3f")),
        Column("constant maps", lambda c: f"{c[PRUNED]['constant']:,}"),
        Column("random mask", lambda c: _correlation(c[RANDOM])),
    ]
    rest = [cell for cell in cells if cell["kind"] != ALL]
    return [total, *table.cell_tables(rest, columns, "correlation", "explain.json", 1)]


def _correlation(row: Cell) -> Entry:
    return table.estimate(row["correlation"], row["low"], row["high"], lambda v: number(v, ".3f"))


def _correlations(cells: Sequence[Cell]) -> Plot | None:
    """Mean correlation of each cell with its interval, pruned and under a random mask."""
    every = [
        {**c, "name": f"{kind}: {c['name']}"}
        for kind in ("class", "group")
        for c in table.ranked(cells, "correlation")
        if c["kind"] == kind and phrases.defined(c["correlation"])
    ]
    shown = every if len(every) <= MOST_CELLS else table.ranked(every, "correlation")[:MOST_CELLS]
    if not shown:
        return None
    caption = (
        "Correlation of heat maps with the dense network's: the pruned network, and the dense one"
        " under a random mask of the same sparsity; lines are 95 % intervals"
    )
    if len(shown) < len(every):
        caption += f"; of {len(every)} cells, the {len(shown)} with the lowest"
    low = min(shown, key=lambda c: c["correlation"])

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        kinds = [(RANDOM, BEFORE, "none", 0.12), (PRUNED, AFTER, AFTER, -0.12)]
        for network, colour, face, shift in kinds:
            y = [i + shift for i in range(len(shown))]
            values, low, high = (
                [c[network][key] for c in shown] for key in ("correlation", "low", "high")
            )
            intervals(axes, y, low, high, colour)
            axes.plot(values, y, "o", color=colour, mfc=face, mew=1.5, ms=5, label=network)
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_xlabel("correlation with the dense network's maps (1: the same map)")
        axes.set_xlim(right=1.02)
        rows(axes, (c["name"] for c in shown), (f"{c['n']:,}" for c in shown))
        legend(figure, axes.lines[:2], 2)

    more = f"Lowest: {low['name']}, {number(low['correlation'], '.2f')}."
    return plot("correlations", 1.1 + 0.28 * len(shown), caption, draw, more)


def _valley(explanation: Explanation) -> list[Part]:
    line = explanation.line
    if line is None:
        return []
    caption = (
        "Loss and error on the validation split along the straight line from this run's pruned"
        " network to the other's, BatchNorm estimated anew between the ends; dashed, the straight"
        " line between the values of the ends"
    )
    more = (
        f"Largest rise above it: loss {number(line.barrier, '.3f')}, error"
        f" {phrases.points(line.error_barrier)}."
    )
    ends = ("this run", Path(explanation.other).name or "the other")
    columns = [
        Column("share of the other", lambda point: number(point[0], ".2f")),
        Column("loss", lambda point: number(point[1], ".4f")),
        Column("error", lambda point: phrases.percent(point[2])),
    ]
    points = list(zip(line.at, line.loss, line.error, strict=True))
    title = f"Loss and error at {len(points)} points of the line"
    return [
        plot("line", 2.9, caption, lambda figure: _draw(figure, line, ends), more),
        table.of(title, points, columns, most_open=0),
    ]


def _draw(figure: Figure, line: Line, names: tuple[str, str]) -> None:
    """Loss and error from one network to the other, and the straight lines between their ends."""
    left, right = figure.subplots(1, 2)
    for axes, values, what in ((left, line.loss, "loss"), (right, 100 * line.error, "error, %")):
        ends, between = "straight line between the ends", "networks between the two"
        axes.plot(
            [0, 1], [values[0], values[-1]], color=MUTED, linestyle="--", linewidth=1, label=ends
        )
        axes.plot(line.at, values, color=AFTER, marker="o", markersize=3.5, label=between)
        axes.set_ylabel(what)
        axes.set_xticks([0, 0.5, 1], [short(names[0], 22), "halfway", short(names[1], 22)])
        axes.set_ylim(bottom=min(0.0, float(values.min())))
    legend(figure, left.lines, 2)


def _facts(explanation: Explanation) -> Table:
    record: Record = explanation.record
    data, method, size = record["data"], record["method"], record["sparsity"]
    sampled = f"{len(explanation.index):,} of them sampled"
    return table.facts(
        [
            ("run", explanation.run),
            *([("line to", explanation.other)] if explanation.other else []),
            ("data", f"{data['name']}, fingerprint {data['fingerprint']}"),
            ("test examples", f"{data['sizes']['test']:,}, {sampled}"),
            ("method", f"{method['name']}: {method['summary']}"),
            ("weights left", f"{size['kept']:,} of {size['total']:,}"),
            ("maps", explanation.method),
            ("seed", str(explanation.seed)),
        ]
    )
