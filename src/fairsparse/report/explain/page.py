"""An explanation as files: HTML to read, JSON and CSV to compute with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from fairsparse._version import __version__
from fairsparse.auditing.document import rows as json_rows
from fairsparse.auditing.document import safe_csv
from fairsparse.checkpoint import write_json, write_text
from fairsparse.explain.agreement import ALL
from fairsparse.explain.explanation import PRUNED, RANDOM, Explanation
from fairsparse.report import phrases
from fairsparse.report.explain import pictures, plots
from fairsparse.report.explain.sentences import method, paragraphs
from fairsparse.report.phrases import between, number
from fairsparse.report.plots import MOST_CELLS
from fairsparse.report.run.page import environment
from fairsparse.report.run.tables import FOLD, Entry, Table

FORMAT = "fairsparse-explain/1"
"""Of explain.json; a change that readers would notice changes the number."""


def write(found: Explanation, folder: Path) -> Path:
    """Write report.html, explain.json and heatmaps.csv (a row for each sampled example)."""
    write_text(folder / "heatmaps.csv", safe_csv(sampled(found)))
    write_text(folder / "report.html", html(found))
    write_json(folder / "explain.json", document(found))
    return folder


def sampled(found: Explanation) -> pd.DataFrame:
    """The sample: rows of the test split, whose they are, and the correlations of their maps."""
    table = found.agreement.examples.rename(columns={"y": "class"})
    table.insert(0, "index", found.index)
    table["weight"] = found.weights
    return table


def document(found: Explanation) -> dict[str, Any]:
    """All numbers, as JSON can hold them; null where there is none."""
    data = found.record["data"]
    made: dict[str, Any] = {
        "format": FORMAT,
        "fairsparse": __version__,
        "run": found.run,
        "data": {"name": data["name"], "fingerprint": data["fingerprint"]},
        "network": phrases.model_name(found.record),
        "method": found.record["method"]["name"],
        "sparsity": found.record["sparsity"]["measured"],
        "maps": found.method,
        "seed": found.seed,
        "sample": len(found.index),
        "cells": json_rows(found.agreement.cells),
        "difference": json_rows(pd.DataFrame([found.difference._asdict()]))[0],
        "flips": found.flips,
        "shown": [
            {
                "index": shown.index,
                "class": shown.y,
                "group": shown.group,
                "predicted": {n: name for n, (name, _) in shown.predicted.items()},
                "correlation": json_rows(pd.DataFrame([dict(shown.correlation)]))[0],
            }
            for shown in found.shown
        ],
        "line": None,
    }
    if found.line is not None:
        made["line"] = {
            "to": found.other,
            "at": found.line.at.tolist(),
            "loss": found.line.loss.tolist(),
            "error": found.line.error.tolist(),
            "barrier": found.line.barrier,
            "error_barrier": found.line.error_barrier,
        }
    return made


def html(found: Explanation) -> str:
    """The report: one file without outside parts and without scripts."""
    record, cells = found.record, found.agreement.cells
    reached = phrases.sparsity(record["sparsity"]["measured"])
    kinds = [kind for kind in dict.fromkeys(cells["attribute"]) if kind != ALL]
    return (
        environment()
        .get_template("explain.html")
        .render(
            title=f"{phrases.model_name(record)} on {record['data']['name']}: what it looks at",
            lead=f"Heat maps before and after {record['method']['name']}, {reached} sparse.",
            version=__version__,
            paragraphs=paragraphs(found),
            plot=_plot(cells),
            examples=[pictures.example(shown, found) for shown in found.shown],
            legend=pictures.legend(found),
            none_shown=(
                "the pruned network gets everything right that the dense one does."
                if not found.flips
                else "none was asked for."
            ),
            cells=[_overall(cells), *(_cells(cells, kind) for kind in kinds)],
            valley=_valley(found),
            method=method(found),
            facts=_facts(found),
        )
    )


def _overall(cells: pd.DataFrame) -> Table:
    rows: list[list[Entry]] = []
    for network in (PRUNED, RANDOM):
        row = cells[(cells["network"] == network) & (cells["attribute"] == ALL)].iloc[0]
        rows.append([network, *_numbers(row.to_dict())])
    head = ["network", "correlation", "shift", "constant maps"]
    title = f"All {rows_of(cells):,} sampled examples, with 95 % intervals"
    return Table(title, head, rows)


def rows_of(cells: pd.DataFrame) -> int:
    """How many examples were sampled."""
    return int(cells[cells["attribute"] == ALL]["n"].iloc[0])


def _numbers(row: dict[str, Any]) -> list[Entry]:
    value: Entry = phrases.UNDEFINED
    if phrases.defined(row["correlation"]):
        bounds = between(row["low"], row["high"], lambda v: number(v, ".3f"))
        value = (number(row["correlation"], ".3f"), bounds)
    return [value, number(row["shift"], ".3f"), f"{row['constant']:,}"]


def _by_cell(cells: pd.DataFrame, kind: str) -> list[dict[str, Any]]:
    """Cells of a kind with the rows of both networks, the lowest correlation of the pruned first.

    Undefined ones come last.
    """
    mine = cells[cells["attribute"] == kind]
    both = {n: mine[mine["network"] == n].to_dict("records") for n in (PRUNED, RANDOM)}
    found = [
        {"name": p["cell"], "n": p["n"], PRUNED: p, RANDOM: r}
        for p, r in zip(both[PRUNED], both[RANDOM], strict=True)
    ]
    return sorted(
        found,
        key=lambda c: c[PRUNED]["correlation"] if phrases.defined(c[PRUNED]["correlation"]) else 2,
    )


def _cells(cells: pd.DataFrame, kind: str) -> Table:
    rows: list[list[Entry]] = [
        [c["name"], f"{c['n']:,}", *_numbers(c[PRUNED]), _numbers(c[RANDOM])[0]]
        for c in _by_cell(cells, kind)
    ]
    title = f"By {kind}: {phrases.plural(len(rows), 'cell')}, the lowest correlation first"
    head = [kind, "n", "pruned", "shift", "constant maps", "random mask"]
    return Table(title, head, rows, folded=title if len(rows) > FOLD else "")


def _plot(cells: pd.DataFrame) -> dict[str, Any] | None:
    kinds = [kind for kind in ("class", "group") if (cells["attribute"] == kind).any()]
    every = [
        {**c, "name": f"{kind}: {c['name']}"}
        for kind in kinds
        for c in _by_cell(cells, kind)
        if phrases.defined(c[PRUNED]["correlation"])
    ]
    shown = every[:MOST_CELLS]
    if len(every) > MOST_CELLS:
        shown = sorted(every, key=lambda c: c[PRUNED]["correlation"])[:MOST_CELLS]
    if not shown:
        return None
    caption = (
        "Correlation of heat maps with the dense network's: the pruned network, and the dense one"
        " under a random mask of the same sparsity; lines are 95 % intervals"
    )
    if len(shown) < len(every):
        caption += f"; of {len(every)} cells, the {len(shown)} with the lowest"
    low = min(shown, key=lambda c: c[PRUNED]["correlation"])
    alt = f"{caption}. Lowest: {low['name']}, {number(low[PRUNED]['correlation'], '.2f')}."
    return {"svg": plots.correlations(shown, alt), "caption": caption + "."}


def _valley(found: Explanation) -> dict[str, Any] | None:
    line = found.line
    if line is None:
        return None
    caption = (
        "Loss and error on the validation split along the straight line from this run's pruned"
        " network to the other's, BatchNorm estimated anew between the ends; dashed, the straight"
        " line between the values of the ends."
    )
    alt = (
        f"{caption} Largest rise above it: loss {number(line.barrier, '.3f')}, error"
        f" {phrases.points(line.error_barrier)}."
    )
    names = ("this run", Path(found.other).name or "the other")
    rows: list[list[Entry]] = [
        [
            number(share, ".2f"),
            number(loss, ".4f"),
            phrases.percent(error),
        ]
        for share, loss, error in zip(line.at, line.loss, line.error, strict=True)
    ]
    title = f"Loss and error at {len(rows)} points of the line"
    table = Table(title, ["share of the other", "loss", "error"], rows, folded=title)
    return {
        "plot": {"svg": plots.valley(line, names, alt), "caption": caption},
        "table": table,
    }


def _facts(found: Explanation) -> Table:
    data, record = found.record["data"], found.record
    size = record["sparsity"]
    rows: list[list[Entry]] = [
        ["run", found.run],
        ["data", f"{data['name']}, fingerprint {data['fingerprint']}"],
        ["test examples", f"{data['sizes']['test']:,}, {len(found.index):,} of them sampled"],
        ["method", f"{record['method']['name']}: {record['method']['summary']}"],
        ["weights left", f"{size['kept']:,} of {size['total']:,}"],
        ["maps", found.method],
        ["seed", str(found.seed)],
    ]
    if found.other:
        rows.insert(1, ["line to", found.other])
    return Table("What this rests on", [], rows, text=(1,))
