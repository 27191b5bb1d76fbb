"""Plots of RESULTS.md as SVG text."""

from __future__ import annotations

import io
import re
from typing import Any

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

Points = dict[str, tuple[float, float]]
MARKERS = "os^Dv"
TITLE = "How often a group's loss is found"
SEEN = 0.6
"""A line is named where it first reaches this share, or else at its end."""


def _svg(figure: Figure, **options: Any) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None}, **options)
    return text.getvalue()


def comparison(task: str, gap: str, panels: dict[float, Points]) -> str:
    """Accuracy in % against the gap of methods, at each sparsity."""
    methods = dict.fromkeys(name for points in panels.values() for name in points)
    with matplotlib.rc_context({"svg.hashsalt": task}):
        figure = Figure(figsize=(15, 4))
        FigureCanvasSVG(figure)  # whose sizes of text the layout takes
        axes = figure.subplots(1, len(panels), sharey=True, sharex=True)
        for at, (sparsity, points) in zip(axes, panels.items(), strict=True):
            for place, method in enumerate(name for name in methods if name != "dense"):
                if method in points:
                    marker, color = MARKERS[place // 10 % 5], f"C{place % 10}"
                    at.plot(*points[method], marker, color=color, label=method)
            if "dense" in points:
                at.plot(*points["dense"], "k*", markersize=11, label="dense")
            at.set(title=f"sparsity {sparsity:g}", xlabel="accuracy, %")
        axes[0].set_ylabel(gap)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.tight_layout()
        beside = figure.legend(
            handles, labels, loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8, frameon=False
        )
        return _svg(figure, bbox_inches="tight", bbox_extra_artists=[beside])


def power(rows: list[dict[str, Any]]) -> str:
    """How large a loss an audit finds, told in words to those who do not see it."""
    with matplotlib.rc_context({"svg.hashsalt": "power", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        for place, (n, curve) in enumerate(_curves(rows).items()):
            x, y = list(curve), list(curve.values())
            axes.plot(x, y, MARKERS[place % 5] + "-", color=f"C{place}")
            high = [i for i, share in enumerate(y) if share >= 100 * SEEN]
            at = high[0] if high else len(x) - 1
            axes.annotate(
                f"n = {n:,}",
                (x[at], y[at]),
                xytext=(9, -9) if high else (0, 8),
                textcoords="offset points",
                ha="left" if high else "right",
                color=f"C{place}",
            )
        axes.set(
            xlabel="points of accuracy that a group of n lost", ylabel="audits that find it, %"
        )
        axes.set(ylim=(-3, 103), title=TITLE, xticks=sorted({100 * r["harm"] for r in rows}))
        axes.grid(alpha=0.3)
        svg = _svg(figure)
    names = 'role="img" aria-labelledby="power-title power-desc"'
    title, words = f'<title id="power-title">{TITLE}</title>', power_text(rows)
    words = f'{title}\n <desc id="power-desc">{words}</desc>'
    return re.sub(r"<svg ([^>]*)>", rf"<svg {names} \1>\n {words}", svg, count=1)


def power_text(rows: list[dict[str, Any]]) -> str:
    """The plot of power in words."""
    lines = [
        f"groups of {n:,}: {', '.join(f'{share:.0f} % at {x:.0f}' for x, share in curve.items())}"
        for n, curve in _curves(rows).items()
    ]
    return "Share of audits that find the group, by points lost. " + "; ".join(lines) + "."


def _curves(rows: list[dict[str, Any]]) -> dict[int, dict[float, float]]:
    """Size of the group -> points lost -> share of audits that find it, in %."""
    return {
        n: {
            100 * row["harm"]: 100 * row["found"]
            for row in sorted(rows, key=lambda row: row["harm"])
            if row["n"] == n
        }
        for n in sorted({row["n"] for row in rows})
    }
