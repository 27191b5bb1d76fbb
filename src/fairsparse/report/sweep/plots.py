"""Plots of many runs: accuracy against the gap, both against sparsity, and accuracy by cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fairsparse.report import phrases
from fairsparse.report.plots import INK, MUTED, columns, rows, short, style, svg
from fairsparse.report.sweep.sweep import Row, Sweep


def _shown(metric: str, value: phrases.Number) -> float:
    """A value as plots show it, in the unit of the tables."""
    return float("nan") if value is None else phrases.about(metric).unit.scale * value


def _name(metric: str) -> str:
    unit = phrases.about(metric).unit.value
    return phrases.label(metric) + (f", {unit}" if unit else "")


def _look(sweep: Sweep, label: str) -> dict[str, Any]:
    return dict(style(sweep.labels.index(label)))


def _legend(figure: Figure, sweep: Sweep, labels: Sequence[str], dense: dict[str, Any]) -> None:
    handles = [
        Line2D([], [], label=short(label), linestyle="", **_look(sweep, label)) for label in labels
    ]
    handles.append(Line2D([], [], color=INK, label="dense", **dense))
    ncols = columns([str(handle.get_label()) for handle in handles])
    figure.legend(handles=handles, loc="outside upper left", ncols=ncols)


def trade_off(sweep: Sweep, gap: str, alt: str) -> Markup:
    """Accuracy against the gap: a small mark for every run, a large one for every mean."""
    star: dict[str, Any] = {"marker": "*", "linestyle": "", "markersize": 10}
    means: list[tuple[float, float, str]] = []

    def place(axes: Axes, row: Row) -> None:
        look = {"linestyle": "", **_look(sweep, row.label)}
        x = [_shown("accuracy", v) for v in row.values("accuracy").values()]
        y = [_shown(gap, v) for v in row.values(gap).values()]
        axes.plot(x, y, markersize=4, alpha=0.45, **look)
        mean = (_shown("accuracy", row.mean("accuracy").value), _shown(gap, row.mean(gap).value))
        axes.plot(*mean, markersize=8, **look)
        if phrases.defined(mean[1]):
            means.append((*mean, phrases.sparsity(row.sparsity)))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for row in sweep.rows:
            place(axes, row)
        dense = [_shown(metric, sweep.dense_mean(metric).value) for metric in ("accuracy", gap)]
        axes.plot(*dense, color=INK, **star)
        axes.set_xlabel("accuracy, %")
        axes.set_ylabel(_name(gap))
        axes.margins(0.12)
        _legend(figure, sweep, sweep.labels, star)
        _label(figure, axes, means)

    return svg("trade-off", 4.0, alt, draw)


def _label(figure: Figure, axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Name points beside their marks, where there is room; a name that finds none is left out."""
    figure.draw_without_rendering()  # only then is it known where a point lies
    scale = 72 / figure.dpi
    at = [scale * axes.transData.transform((x, y)) for x, y, _ in points]
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in at]
    for (x, y), (*point, text) in zip(at, points, strict=True):
        wide, high = 5.0 * len(text), 8.0
        for right, up in ((6, 5), (6, -12), (-6 - wide, 5), (-6 - wide, -12)):
            box = (x + right, y + up, x + right + wide, y + up + high)
            if not any(
                box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken
            ):
                taken.append(box)
                axes.annotate(
                    text,
                    (point[0], point[1]),
                    xytext=(right, up),
                    textcoords="offset points",
                    fontsize=7.5,
                    color=MUTED,
                )
                break


def against_sparsity(sweep: Sweep, gap: str, alt: str) -> Markup:
    """Accuracy and gap against sparsity: a line through the means, a small mark for every run."""
    line: dict[str, Any] = {"linestyle": "--", "linewidth": 1}

    def plot(axes: Axes, metric: str) -> None:
        levels, labels = sweep.sparsities, sweep.labels
        for i, label in enumerate(labels):
            shift = 0.3 * ((i + 0.5) / len(labels) - 0.5)  # side by side: none hides another
            look, found = _look(sweep, label), [row for row in sweep.rows if row.label == label]
            x = [levels.index(row.sparsity) + shift for row in found]
            for at, row in zip(x, found, strict=True):
                runs = [_shown(metric, v) for v in row.values(metric).values()]
                axes.plot([at] * len(runs), runs, linestyle="", markersize=3.5, alpha=0.45, **look)
            means = [_shown(metric, row.mean(metric).value) for row in found]
            axes.plot(x, means, markersize=6, **look)
        axes.axhline(_shown(metric, sweep.dense_mean(metric).value), color=INK, **line)
        axes.set_xticks(range(len(levels)), [phrases.sparsity(s) for s in levels])
        axes.set_xlim(-0.5, len(levels) - 0.5)
        axes.set_xlabel("sparsity")
        axes.set_ylabel(_name(metric))
        axes.grid(visible=False, axis="x")

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        plot(left, "accuracy")
        plot(right, gap)
        _legend(figure, sweep, sweep.labels, line)

    return svg("sparsity", 3.3, alt, draw)


def cell_accuracies(
    sweep: Sweep, labels: Sequence[str], cells: Sequence[dict[str, Any]], alt: str
) -> Markup:
    """Mean accuracy of each cell, one mark for every method.

    Parameters
    ----------
    sweep : Sweep
    labels : sequence of str
        The methods, in the order of each cell's ``rows``.
    cells : sequence of dict
        From `fairsparse.report.sweep.sweep.cell_table`, in order from top to bottom.
    alt : str
    """
    bar: dict[str, Any] = {"marker": "|", "linestyle": "", "markersize": 12, "markeredgewidth": 1.5}

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        y = range(len(cells))
        axes.plot([100 * c["dense"].value for c in cells], y, color=INK, **bar)
        for i, label in enumerate(labels):
            values = [100 * c["rows"][i].value for c in cells]
            axes.plot(values, y, linestyle="", markersize=5.5, alpha=0.9, **_look(sweep, label))
        sizes = [phrases.size(c["sizes"]) for c in cells]
        rows(axes, [f"{short(c['name'])}  (n={n})" for c, n in zip(cells, sizes, strict=True)])
        axes.set_xlabel("accuracy, % (mean over seeds)")
        _legend(figure, sweep, labels, bar)

    return svg("cell-accuracies", 1.1 + 0.24 * len(cells), alt, draw)
