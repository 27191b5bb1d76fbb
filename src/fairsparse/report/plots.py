"""Plots as SVG that takes its colours from the page, so light, dark and print all read well."""

from __future__ import annotations

import io
import math
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fairsparse.neutral import neutral
from fairsparse.report import phrases
from fairsparse.report.table import Cell

# Drawn in colours nothing else uses, which then become CSS variables of the page.
INK, MUTED, GRID, BEFORE, AFTER = "#010101", "#010102", "#010103", "#010104", "#010105"
SERIES = tuple(f"#0102{i:02x}" for i in range(7))
_NAMES = {INK: "ink", MUTED: "muted", GRID: "grid", BEFORE: "before", AFTER: "after"}
_NAMES |= {colour: f"series-{i}" for i, colour in enumerate(SERIES)}
_VARIABLES = {colour: f"var(--{name})" for colour, name in _NAMES.items()}
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

WIDTH = 7.6
MOST_CELLS = 30
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # names may hold dollar signs
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.5,
    **dict.fromkeys(("text.color", *(f"{x}.labelcolor" for x in ("axes", "xtick", "ytick"))), INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), MUTED),
    **dict.fromkeys(("axes.facecolor", "figure.facecolor"), "none"),
    **dict.fromkeys(("axes.grid", "axes.axisbelow", "axes.unicode_minus"), True),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
}


def style(i: int) -> dict[str, str]:
    """Colour and marker of the i-th method; pairs repeat only after 49 methods."""
    return {"color": SERIES[i % 7], "marker": MARKERS[(i + i // 7) % 7]}


class Plot(NamedTuple):
    """A plot as inline SVG, and what it shows."""

    svg: Markup
    caption: str


def columns(labels: Sequence[str], most: int = 6) -> int:
    """How many columns of a legend fit the width of a plot.

    >>> columns(["dense", "lth"]), columns(["x" * 28])
    (6, 2)
    """
    widest = 48 + 6.2 * max(len(label) for label in labels)  # points: mark, letters, space
    return min(most, max(1, int(72 * WIDTH / widest)))


def plot(
    name: str, height: float, caption: str, draw: Callable[[Figure], None], more: str = ""
) -> Plot:
    """Draw a figure `height` inches high, `WIDTH` wide; equal input gives equal bytes.

    `name` is unique on a page, for it salts the ids. The caption has no full stop yet; those who do
    not see the plot are told `more` after it.
    """
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # the browser has glyphs for names that the measuring font lacks
        warnings.filterwarnings("ignore", message="(?s)Glyph .* missing from", category=UserWarning)
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    alternative = neutral(f"{caption}. {more}".strip())
    return Plot(
        Markup(_inline(neutral(buffer.getvalue(), keep="\n\t"), alternative)), f"{caption}."
    )


def _inline(text: str, alt: str) -> str:
    # namespaces and the prologue are XML's, a style element would style the page, and ids that
    # nothing refers to would occur once in every plot
    root = ET.fromstring(text)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    for element in root.iter():
        element.tag = element.tag.split("}")[-1]
        element.attrib = {
            name: _page_style(value) if name in ("style", "fill", "stroke") else value
            for name, value in ((key.split("}")[-1], v) for key, v in element.attrib.items())
            if name != "id" or value in used
        }
        for child in list(element):
            if child.tag.split("}")[-1] in ("metadata", "style"):
                element.remove(child)
    for key in ("version", "width", "height"):
        root.attrib.pop(key, None)
    root.attrib |= {"role": "img", "aria-label": alt}
    return ET.tostring(root, encoding="unicode")


def _page_style(text: str) -> str:
    text = re.sub(r"font: (?:\w+ )*?([\d.]+px) [^;]*", r"font-size: \1", text)
    return re.sub(r"#0[0-9a-f]{5}", lambda colour: _VARIABLES.get(colour[0], colour[0]), text)


def floats(values: Iterable[phrases.Number], scale: float = 1) -> list[float]:
    """Values times `scale`, NaN where there is none."""
    return [math.nan if value is None else scale * value for value in values]


def rows(axes: Axes, names: Iterable[str], sizes: Iterable[str]) -> None:
    """Give horizontal rows, from top to bottom, their names and numbers of examples."""
    each = zip(phrases.lines(list(names)), sizes, strict=True)
    texts = [f"{name}  (n={n})" for name, n in each]
    axes.set_yticks(range(len(texts)), texts)
    axes.set_ylim(len(texts) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def intervals(
    axes: Axes, y: Sequence[float], low: Sequence[float], high: Sequence[float], colour: str
) -> None:
    """Draw a bar for each interval that is defined."""
    sure = [i for i, end in enumerate(low) if end == end]
    at, start, end = ([values[i] for i in sure] for values in (y, low, high))
    axes.hlines(at, start, end, color=colour, linewidth=2, alpha=0.6)


def legend(figure: Figure, handles: Sequence[Any], most: int = 6) -> None:
    """Name what is drawn, above the plot."""
    ncols = columns([str(handle.get_label()) for handle in handles], most)
    figure.legend(handles=handles, loc="outside upper left", ncols=ncols)


def cell_changes(cells: Sequence[Cell], models: tuple[str, str], caption: str) -> Plot:
    """Each cell's drop with its interval, and accuracy before and after, top to bottom.

    The drop is on the left, which is what a phone shows of a plot.
    """

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=[2, 3])
        before, after, drop, low, high = (
            floats((c[key] for c in cells), 100)
            for key in ("reference", "candidate", "drop", "low", "high")
        )
        y, names = range(len(cells)), phrases.lines(models, 40)
        rows(left, (c["name"] for c in cells), (f"{c['n']:,}" for c in cells))
        left.axvline(0, color=MUTED, linewidth=1)
        intervals(left, y, low, high, AFTER)
        left.plot(drop, y, "D", color=AFTER, markersize=4.5)
        left.set_xlabel("drop, points")
        right.hlines(y, before, after, color=MUTED, linewidth=1.2)
        right.plot(before, y, "o", color=BEFORE, mfc="none", mew=1.5, label=names[0])
        right.plot(after, y, "o", color=AFTER, markersize=5, label=names[1])
        right.set_xlabel("accuracy, %")
        right.spines["left"].set_visible(False)
        right.tick_params(axis="y", length=0)
        legend(figure, right.lines, 2)

    top = cells[0]
    ends = [phrases.percent(top[role], 1) for role in ("reference", "candidate")]
    more = f"First: {top['name']}, from {ends[0]} to {ends[1]}, n = {top['n']}."
    return plot("cells", 1.1 + 0.24 * len(cells), caption, draw, more)
