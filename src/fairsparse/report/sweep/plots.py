"""Plots of many runs: accuracy against the gap, both against sparsity, and accuracy by cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fairsparse.report import phrases, plots
from fairsparse.report.plots import INK, MOST_CELLS, MUTED, Plot, plot
from fairsparse.report.sweep.sweep import DENSE, Mean, Sweep
from fairsparse.report.table import Cell


def _values(metric: str, values: Iterable[phrases.Number]) -> list[float]:
    """Values as plots show them, in the unit of the tables."""
    return plots.floats(values, phrases.about(metric).unit.scale)


def _mean(metric: str, mean: Mean) -> float:
    return _values(metric, [mean.value])[0]


def _name(metric: str) -> str:
    unit = phrases.about(metric).unit.value
    return phrases.label(metric) + (f", {unit}" if unit else "")


def _look(sweep: Sweep, label: str) -> dict[str, Any]:
    return dict(plots.style(sweep.labels.index(label)))


def _legend(figure: Figure, sweep: Sweep, labels: Sequence[str], dense: dict[str, Any]) -> None:
    handles = [
        Line2D([], [], label=short, linestyle="", **_look(sweep, label))
        for label, short in zip(labels, phrases.lines(labels), strict=True)
    ]
    plots.legend(figure, [*handles, Line2D([], [], color=INK, label="dense", **dense)])


def trade_off(sweep: Sweep, gap: str) -> Plot:
    """Accuracy against the gap: a small mark for every run, a large one for every mean."""
    caption = (
        f"Accuracy against {phrases.label(gap)}; small marks are runs, large ones means over seeds"
    )
    star: dict[str, Any] = {"marker": "*", "linestyle": "", "markersize": 10}

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        means = []
        for row in sweep.rows:
            look = {"linestyle": "", **_look(sweep, row.label)}
            runs = [_values(metric, row.values(metric).values()) for metric in ("accuracy", gap)]
            axes.plot(*runs, markersize=4, alpha=0.45, **look)
            mean = (_mean("accuracy", row.mean("accuracy")), _mean(gap, row.mean(gap)))
            axes.plot(*mean, markersize=8, **look)
            if phrases.defined(mean[1]):
                means.append((*mean, phrases.sparsity(row.sparsity)))
        dense = [_mean(metric, sweep.dense_mean(metric)) for metric in ("accuracy", gap)]
        axes.plot(*dense, color=INK, **star)
        axes.set_xlabel("accuracy, %")
        axes.set_ylabel(_name(gap))
        axes.margins(0.12)
        _legend(figure, sweep, sweep.labels, star)
        _label(figure, axes, means)

    return plot("trade-off", 4.0, caption, draw)


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
                where: dict[str, Any] = {"xytext": (right, up), "textcoords": "offset points"}
                axes.annotate(text, (point[0], point[1]), **where, fontsize=7.5, color=MUTED)
                break


def against_sparsity(sweep: Sweep, gap: str) -> Plot:
    """Accuracy and gap against sparsity: a line through the means, a small mark for every run."""
    caption = (
        f"Accuracy and {phrases.label(gap)} by sparsity; small marks are runs, lines join means"
        " over seeds"
    )
    line: dict[str, Any] = {"linestyle": "--", "linewidth": 1}

    def against(axes: Axes, metric: str) -> None:
        levels, labels = sweep.sparsities, sweep.labels
        for i, label in enumerate(labels):
            shift = 0.3 * ((i + 0.5) / len(labels) - 0.5)  # side by side: none hides another
            look, mine = _look(sweep, label), [row for row in sweep.rows if row.label == label]
            x = [levels.index(row.sparsity) + shift for row in mine]
            for at, row in zip(x, mine, strict=True):
                runs = _values(metric, row.values(metric).values())
                axes.plot([at] * len(runs), runs, linestyle="", markersize=3.5, alpha=0.45, **look)
            means = [_mean(metric, row.mean(metric)) for row in mine]
            axes.plot(x, means, markersize=6, **look)
        axes.axhline(_mean(metric, sweep.dense_mean(metric)), color=INK, **line)
        axes.set_xticks(range(len(levels)), [phrases.sparsity(s) for s in levels])
        axes.set_xlim(-0.5, len(levels) - 0.5)
        axes.set_xlabel("sparsity")
        axes.set_ylabel(_name(metric))
        axes.grid(visible=False, axis="x")

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        against(left, "accuracy")
        against(right, gap)
        _legend(figure, sweep, sweep.labels, line)

    return plot("sparsity", 3.3, caption, draw)


def cell_accuracies(
    sweep: Sweep, labels: Sequence[str], cells: Sequence[Cell], caption: str
) -> Plot:
    """Mean accuracy of the cells of `cell_means`, one mark for every method."""
    some = [cell for cell in cells if phrases.defined(cell["means"][DENSE].value)]
    worst = sorted(some, key=lambda cell: cell["means"][DENSE].value)[:MOST_CELLS]
    if len(worst) < len(some):
        caption += f"; of {len(some)}, the {len(worst)} that the dense network serves worst"
    bar: dict[str, Any] = {"marker": "|", "linestyle": "", "markersize": 12, "markeredgewidth": 1.5}

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        y = range(len(worst))
        axes.plot([100 * c["means"][DENSE].value for c in worst], y, color=INK, **bar)
        for label in labels:
            values = [100 * c["means"][label].value for c in worst]
            axes.plot(values, y, linestyle="", markersize=5.5, alpha=0.9, **_look(sweep, label))
        plots.rows(axes, (c["name"] for c in worst), (phrases.size(c["sizes"]) for c in worst))
        axes.set_xlabel("accuracy, % (mean over seeds)")
        _legend(figure, sweep, labels, bar)

    return plot("cell-accuracies", 1.1 + 0.24 * len(worst), caption, draw)
