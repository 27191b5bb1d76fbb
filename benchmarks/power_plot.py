"""How large a loss an audit finds, as a picture; see coverage.py, which records it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PLOT = Path(__file__).parent / "results" / "power.svg"
TITLE = "How often a group's loss is found"
SEEN = 0.6
"""A line is named where it first reaches this share, or else at its end."""


def draw(rows: list[dict[str, Any]]) -> str:
    """Draw `rows` of coverage.json's power to `PLOT`; return its path beside RESULTS.md."""
    import matplotlib
    from matplotlib.figure import Figure

    lines = {n: sorted((r for r in rows if r["n"] == n), key=_harm) for n in _sizes(rows)}
    with matplotlib.rc_context({"svg.hashsalt": "power", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        for place, (n, found) in enumerate(lines.items()):
            x, y = [100 * r["harm"] for r in found], [_share(r) for r in found]
            axes.plot(x, y, "os^Dv"[place % 5] + "-", color=f"C{place}")
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
        figure.savefig(PLOT, metadata={"Date": None})
    PLOT.write_text(_told(PLOT.read_text(), alternative(rows)))
    return f"results/{PLOT.name}"


def alternative(rows: list[dict[str, Any]]) -> str:
    """The picture in words."""
    said = []
    for n in _sizes(rows):
        found = sorted((r for r in rows if r["n"] == n), key=_harm)
        shares = ", ".join(f"{_share(r):.0f} % at {100 * r['harm']:.0f}" for r in found)
        said.append(f"groups of {n:,}: {shares}")
    return "Share of audits that find the group, by points lost. " + "; ".join(said) + "."


def _harm(row: dict[str, Any]) -> float:
    return float(row["harm"])


def _share(row: dict[str, Any]) -> float:
    return 100 * float(row["harmed group found"])


def _sizes(rows: list[dict[str, Any]]) -> list[int]:
    return sorted({r["n"] for r in rows})


def _told(svg: str, words: str) -> str:
    """The same picture with a title and a description for those who do not see it."""
    names = 'role="img" aria-labelledby="power-title power-desc"'
    told = f'<title id="power-title">{TITLE}</title>\n <desc id="power-desc">{words}</desc>'
    return re.sub(r"<svg ([^>]*)>", rf"<svg {names} \1>\n {told}", svg, count=1)
