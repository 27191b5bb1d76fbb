"""An explanation as files: HTML to read, JSON and CSV to compute with; and in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from fairsparse._version import __version__
from fairsparse.auditing.document import rows as json_rows
from fairsparse.auditing.document import safe_csv
from fairsparse.checkpoint import write_json, write_text
from fairsparse.explain.agreement import ALL, LEAST
from fairsparse.explain.explanation import PRUNED, RANDOM, Explanation
from fairsparse.report import phrases, plots, table
from fairsparse.report.audit.sentences import cells
from fairsparse.report.explain import pictures
from fairsparse.report.page import Part, render, section, words
from fairsparse.report.phrases import between, number
from fairsparse.report.plots import AFTER, BEFORE, MOST_CELLS, MUTED
from fairsparse.report.table import Cell, Column, Entry, Table

FORMAT = "fairsparse-explain/1"
"""Of explain.json; a change that readers would notice changes the number."""
_two, _three = partial(number, spec=".2f"), partial(number, spec=".3f")


def write(explanation: Explanation, folder: Path) -> Path:
    """Write report.html, explain.json and heatmaps.csv (a row for each sampled example)."""
    examples = explanation.agreement.examples.rename(columns={"y": "class"})
    examples.insert(0, "index", explanation.index)
    write_text(folder / "heatmaps.csv", safe_csv(examples.assign(weight=explanation.weights)))
    write_text(folder / "report.html", html(explanation))
    write_json(folder / "explain.json", document(explanation))
    return folder


def document(explanation: Explanation) -> dict[str, Any]:
    """All numbers, as JSON can hold them; null where there is none."""
    record, line = explanation.record, explanation.line
    return {
        "format": FORMAT,
        "fairsparse": __version__,
        "run": explanation.run,
        "data": {key: record.data[key] for key in ("name", "fingerprint")},
        "network": phrases.model_name(record),
        "method": record.method.name,
        "sparsity": record.sparsity.measured,
        "maps": explanation.method,
        "seed": explanation.seed,
        "sample": len(explanation.index),
        "cells": json_rows(explanation.agreement.cells),
        "difference": json_rows(pd.DataFrame([explanation.difference]))[0],
        "flips": explanation.flips,
        "shown": [
            {
                "index": example.index,
                "class": example.y,
                "group": example.group,
                "predicted": {n: name for n, (name, _) in example.predicted.items()},
                "correlation": json_rows(pd.DataFrame([example.correlation]))[0],
            }
            for example in explanation.shown
        ],
        "line": line
        and {
            "to": explanation.other,
            **{key: values.tolist() for key, values in vars(line).items()},
            "barrier": line.barrier,
            "error_barrier": line.error_barrier,
        },
    }


def html(explanation: Explanation) -> str:
    """The report: one file without outside parts and without scripts."""
    record, both = explanation.record, _both(explanation.agreement.cells)
    reached = phrases.sparsity(record.sparsity.measured)
    return render(
        f"{phrases.model_name(record)} on {record.data.name}: what it looks at",
        f"Heat maps before and after {record.method.name}, {reached} sparse.",
        section("", *words(paragraphs(explanation)), _correlations(both)),
        section("What the networks look at", *pictures.examples(explanation)),
        section("From one pruned network to another", *_valley(explanation)),
        section("How alike the maps are, for whom", *_tables(both)),
        section("How this was found", *_method(explanation), _facts(explanation)),
    )


def _both(frame: pd.DataFrame) -> list[Cell]:
    """Cells as the pruned network has them, with the row of each network under its name."""
    pruned, random = (cells(frame[frame["network"] == name]) for name in (PRUNED, RANDOM))
    return [{**p, PRUNED: p, RANDOM: r} for p, r in zip(pruned, random, strict=True)]


def _tables(both: Sequence[Cell]) -> list[Table]:
    shift = Column("shift", lambda row: _three(row["shift"]))
    constant = Column("constant maps", lambda row: f"{row['constant']:,}")
    networks = [Column("network", lambda row: row["network"]), Column("correlation", _correlation)]
    random = Column(RANDOM, lambda cell: _correlation(cell[RANDOM]))
    (everyone,) = (cell for cell in both if cell["kind"] == ALL)
    rest = [cell for cell in both if cell["kind"] != ALL]
    title = f"All {everyone['n']:,} sampled examples, with 95 % intervals"
    rows = [everyone[network] for network in (PRUNED, RANDOM)]
    columns = [Column(PRUNED, _correlation), shift, constant, random]
    return [
        table.of(title, rows, [*networks, shift, constant]),
        *table.cell_tables(rest, columns, "correlation", "explain.json", 1),
    ]


def _correlation(row: Cell) -> Entry:
    return table.estimate(row, _three, "correlation")


def _correlations(both: Sequence[Cell]) -> Part:
    some = [c for c in table.ranked(both, "correlation") if phrases.defined(c["correlation"])]
    pictured = every = [
        {**cell, "name": f"{kind}: {cell['name']}"}
        for kind in ("class", "group")
        for cell in some
        if cell["kind"] == kind
    ]
    if not every:
        return None
    caption = (
        "Correlation of heat maps with the dense network's: the pruned network, and the dense one"
        " under a random mask of the same sparsity; lines are 95 % intervals"
    )
    if len(every) > MOST_CELLS:
        pictured = sorted(every, key=itemgetter("correlation"))[:MOST_CELLS]
        caption += f"; of {len(every)} cells, the {MOST_CELLS} with the lowest"
    low = min(pictured, key=itemgetter("correlation"))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        kinds = [(RANDOM, BEFORE, "none", 0.12), (PRUNED, AFTER, AFTER, -0.12)]
        for network, colour, face, shift in kinds:
            y = [i + shift for i in range(len(pictured))]
            ends = itemgetter("correlation", "low", "high")
            values, low, high = zip(*(ends(cell[network]) for cell in pictured), strict=True)
            plots.intervals(axes, y, low, high, colour)
            axes.plot(values, y, "o", color=colour, mfc=face, mew=1.5, ms=5, label=network)
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_xlabel("correlation with the dense network's maps (1: the same map)")
        axes.set_xlim(right=1.02)
        plots.rows(axes, (c["name"] for c in pictured), (f"{c['n']:,}" for c in pictured))
        plots.legend(figure, axes.lines[:2], 2)

    more = f"Lowest: {low['name']}, {number(low['correlation'], '.2f')}."
    return plots.plot("correlations", 1.1 + 0.28 * len(pictured), caption, draw, more)


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
    columns = [
        Column("share of the other", lambda point: number(point[0], ".2f")),
        Column("loss", lambda point: number(point[1], ".4f")),
        Column("error", lambda point: phrases.percent(point[2])),
    ]
    points = list(zip(line.at, line.loss, line.error, strict=True))
    title = f"Loss and error at {len(points)} points of the line"

    def draw(figure: Figure) -> None:
        ends, between = "straight line between the ends", "networks between the two"
        dashes: dict[str, Any] = {"color": MUTED, "linestyle": "--", "linewidth": 1, "label": ends}
        other = phrases.line(Path(explanation.other).name or "the other", 22)
        left, right = figure.subplots(1, 2)
        for axes, values, what in [
            (left, line.loss, "loss"),
            (right, 100 * line.error, "error, %"),
        ]:
            axes.plot([0, 1], [values[0], values[-1]], **dashes)
            axes.plot(line.at, values, color=AFTER, marker="o", markersize=3.5, label=between)
            axes.set_ylabel(what)
            axes.set_xticks([0, 0.5, 1], ("this run", "halfway", other))
            axes.set_ylim(bottom=min(0.0, float(values.min())))
        plots.legend(figure, left.lines, 2)

    plot = plots.plot("line", 2.9, caption, draw, more)
    return [plot, table.of(title, points, columns, most_open=0)]


def _facts(explanation: Explanation) -> Table:
    record = explanation.record
    data, method, size = record.data, record.method, record.sparsity
    sampled = f"{len(explanation.index):,} of them sampled"
    rows = [
        ("run", explanation.run),
        ("line to", explanation.other),
        ("data", f"{data.name}, fingerprint {data.fingerprint}"),
        ("test examples", f"{data.sizes['test']:,}, {sampled}"),
        ("method", f"{method.name}: {method.summary}"),
        ("weights left", f"{size.kept:,} of {size.total:,}"),
        ("maps", explanation.method),
        ("seed", str(explanation.seed)),
    ]
    return table.facts([row for row in rows if row[1]])


def paragraphs(explanation: Explanation) -> list[str]:
    """How alike the maps are, for whom least, who was lost, and whether a valley is between."""
    cells = explanation.agreement.cells
    texts = [_alike(explanation)]
    texts += [text for kind in ("class", "group") if (text := _lowest(cells, kind))]
    flips = phrases.plural(explanation.flips, "test example")
    below = f"; {len(explanation.shown)} of them are below" if explanation.shown else ""
    texts.append(f"The dense network gets {flips} right that the pruned network gets wrong{below}.")
    if line := explanation.line:
        texts.append(
            "On the straight line between the two pruned networks the validation loss rises at"
            f" most {number(line.barrier, '.3f')} above the line between its ends, and the"
            f" error {phrases.points(line.error_barrier)}."
        )
    return texts


def _alike(explanation: Explanation) -> str:
    cells = explanation.agreement.cells
    overall = cells[cells["attribute"] == ALL].set_index("network")
    pruned, random = (overall.loc[name].to_dict() for name in (PRUNED, RANDOM))
    text = (
        f"Over {phrases.plural(int(pruned['n']), 'sampled test example')}, heat maps of the pruned"
        f" network correlate {_with(pruned)} with those of the dense network; those of the dense"
        f" network under a random mask of the same sparsity {_with(random)}."
    )
    value, low, high = explanation.difference[:3]
    if phrases.defined(low):
        if low > 0:
            text += " The pruned network's are nearer, by "
        elif high < 0:
            text += " Those under the random mask are nearer, by "
            value, low, high = -value, -high, -low
        else:
            text += " The data do not tell which are nearer: the difference is "
        text += f"{_two(value)} ({between(low, high, _two)})."
    flat = [int(row["constant"]) for row in (pruned, random)]
    if any(flat):
        text += (
            " A map that is the same everywhere, or a dense network's that is, has no correlation"
            f" and is left out of the mean: {flat[0]:,} examples of the pruned network's,"
            f" {flat[1]:,} of those under the random mask."
        )
    return text


def _with(row: dict[str, Any]) -> str:
    if not phrases.defined(row["correlation"]):
        return f"by an {phrases.UNDEFINED} amount"
    text = f"by {_two(row['correlation'])} on average"
    return f"{text} ({phrases.interval(row, _two)})" if phrases.defined(row["low"]) else text


def _lowest(cells: pd.DataFrame, kind: str) -> str:
    """The lowest and the highest cell of a kind, of those with an interval."""
    mine = cells[(cells["network"] == PRUNED) & (cells["attribute"] == kind)]
    sure = mine[mine["low"].notna()].sort_values("correlation", kind="stable")
    if len(sure) < 2:
        return ""
    low, high = sure.iloc[0].to_dict(), sure.iloc[-1].to_dict()
    text = (
        f"By {kind}, of {len(sure)}, the correlation is lowest for “{low['cell']}”"
        f" ({_two(low['correlation'])}, n = {low['n']:,}) and highest for “{high['cell']}”"
        f" ({_two(high['correlation'])}, n = {high['n']:,}); "
    )
    return text + f"their intervals {'' if low['high'] >= high['low'] else 'do not '}overlap."


def _method(explanation: Explanation) -> list[str]:
    return [
        f"{explanation.method}. For every example all three networks are asked about the same"
        " class, the one that the dense network predicts: maps of different classes would differ"
        " because the question does.",
        "The random mask keeps as many of the dense network's weights as the method did, drawn"
        " uniformly over all prunable ones; neither weights nor BatchNorm are trained afterwards,"
        " while the pruned network was. It shows how far sparsity alone moves a map.",
        "The number is Pearson's correlation of two maps of one example, and a mean over examples."
        " The sample has equally many examples of each class within each group, and all of smaller"
        " ones; means count each example as often as it stands for others. Intervals are"
        f" bootstrap-t over examples; a cell of fewer than {LEAST} examples has none. They are not"
        " adjusted for the number of cells.",
        "A heat map is a rough sketch of what a network uses, and two methods can draw it"
        " differently. That maps agree does not show that predictions do, and that they differ does"
        " not show that either is wrong.",
    ]
