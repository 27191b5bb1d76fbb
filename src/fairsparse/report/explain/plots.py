"""Plots of an explanation: correlations by cell, and the loss on a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from fairsparse.explain.explanation import PRUNED, RANDOM
from fairsparse.explain.loss_path import Line
from fairsparse.report.plots import AFTER, BEFORE, MUTED, rows, short, svg


def correlations(cells: Sequence[dict[str, Any]], alt: str) -> Markup:
    """Mean correlation of each cell with its interval, pruned and under a random mask.

    Parameters
    ----------
    cells : sequence of dict
        ``name`` and ``n``, and for each network a row of an agreement's cells.
    alt : str
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        kinds = [(RANDOM, BEFORE, "o", "none", 0.12), (PRUNED, AFTER, "o", AFTER, -0.12)]
        for network, colour, marker, face, shift in kinds:
            y = [i + shift for i in range(len(cells))]
            found = [c[network] for c in cells]
            sure = [i for i, c in enumerate(found) if c["low"] == c["low"]]
            axes.hlines(
                [y[i] for i in sure],
                [found[i]["low"] for i in sure],
                [found[i]["high"] for i in sure],
                color=colour,
                linewidth=2,
                alpha=0.6,
            )
            values = [c["correlation"] for c in found]
            axes.plot(values, y, marker, color=colour, mfc=face, mew=1.5, ms=5, label=network)
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_xlabel("correlation with the dense network's maps (1: the same map)")
        axes.set_xlim(right=1.02)
        rows(axes, [f"{short(c['name'])}  (n={c['n']:,})" for c in cells])
        figure.legend(loc="outside upper left", ncols=2)

    return svg("correlations", 1.1 + 0.28 * len(cells), alt, draw)


def valley(line: Line, names: tuple[str, str], alt: str) -> Markup:
    """Loss and error from one network to the other, and the straight lines between their ends."""

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        for axes, values, what in (
            (left, line.loss, "loss"),
            (right, 100 * line.error, "error, %"),
        ):
            ends = [values[0], values[-1]]
            axes.plot([0, 1], ends, color=MUTED, linestyle="--", linewidth=1, label="ends")
            axes.plot(line.at, values, color=AFTER, marker="o", markersize=3.5, label="line")
            axes.set_ylabel(what)
            axes.set_xticks([0, 0.5, 1], [short(names[0], 22), "halfway", short(names[1], 22)])
            axes.set_ylim(bottom=min(0.0, float(values.min())))
        handles, labels = left.get_legend_handles_labels()
        words = {"ends": "straight line between the ends", "line": "networks between the two"}
        figure.legend(
            handles, [words[label] for label in labels], loc="outside upper left", ncols=2
        )

    return svg("line", 2.9, alt, draw)
