"""Pages from sections, and tables from columns: what is left out, sorted, folded and escaped."""

from __future__ import annotations

import math
from typing import Any

import jinja2
import pytest
from markupsafe import Markup
from matplotlib.figure import Figure
from page import Page

from fairsparse.report import table
from fairsparse.report.page import Block, Picture, note, render, section, settings, words
from fairsparse.report.plots import Plot, floats, intervals, plot
from fairsparse.report.table import Column, Table

EVIL = '<script>alert("1")</script>'
WORD = {"text": EVIL, "value": "+1", "way": "for", "strength": 3}
PARTS: dict[str, Any] = {
    "str": EVIL,
    "table": Table(EVIL, [EVIL], [[EVIL, (EVIL, EVIL), {"text": EVIL, "href": "a b"}]]),
    "folded": Table(EVIL, [EVIL], [[EVIL]], most_open=0),
    "plot": Plot(Markup('<svg aria-label="A line."></svg>'), EVIL),
    "words": words([EVIL])[0],
    "note": note(EVIL),
    "said": Block("said", EVIL),
    "heading": Block("heading", EVIL),
    "details": settings(EVIL, {EVIL: EVIL}),
    "tiles": Block("tiles", [(EVIL, EVIL, EVIL)]),
    "gallery": Block("gallery", [Picture(EVIL, "data:,", EVIL), Picture(EVIL, text=EVIL)]),
    "maps": Block("maps", [Picture(EVIL, "data:,", EVIL)]),
    "textmap": Block("textmap", [WORD]),
}


@pytest.mark.parametrize("kind", PARTS)
def test_whatever_a_part_holds_is_text(kind: str) -> None:
    html = render("title", "lead", section("", PARTS[kind]))
    assert "<script" not in html
    page = Page(html)  # closes what it opens
    values = [value for _, attributes in page.tags for value in attributes.values()]
    assert EVIL in page.text or EVIL in values
    if kind == "folded":
        assert [tag for tag, _ in page.tags if tag in ("details", "summary", "caption")] == [
            "details", "summary",
        ]  # fmt: skip


def test_what_no_macro_shows_fails() -> None:
    with pytest.raises(jinja2.UndefinedError):
        render("title", "lead", section("", Block("nothing", "text")))


def test_what_holds_nothing_is_left_out() -> None:
    empty = Table("caption", ["head"], [])
    page = Page(render("a", "b", section("x", None, "", empty), section("y", None, "text", empty)))
    assert [tag for tag, _ in page.tags if tag in ("section", "h2", "p", "table")] == [
        "p", "section", "h2", "p", "p",
    ]  # fmt: skip
    assert page.text.split() == ["a", "a", "b", "y", "text", *page.text.split()[5:]]


def test_the_caption_of_a_plot_and_what_is_told_besides() -> None:
    line = plot("a", 1, "A line", lambda figure: None, "It is flat.")
    assert line.caption == "A line."
    assert 'aria-label="A line. It is flat."' in line.svg
    assert 'aria-label="A line."' in plot("a", 1, "A line", lambda figure: None).svg


def test_plots_show_no_number_where_there_is_none() -> None:
    missing, half = floats([None, 0.5], 100)
    assert math.isnan(missing)
    assert half == 50
    axes = Figure().subplots()
    intervals(axes, [0, 1], [missing, 0.25], [missing, 0.75], "black")
    (bars,) = axes.collections
    assert [bar.tolist() for bar in bars.get_segments()] == [[[0.25, 1], [0.75, 1]]]


def test_cells_are_ranked_within_their_kind_undefined_ones_last() -> None:
    values = {"b": 2.0, "none": None, "a": 3.0, "nan": math.nan, "c": -1.0}
    cells = [{"kind": "group", "name": "g", "n": 1234, "gap": 1.0}]
    cells += [{"kind": "class", "name": k, "n": 1, "gap": v} for k, v in values.items()]
    columns = [Column("gap", lambda cell: str(cell["gap"]), text=True)]
    groups, classes = table.cell_tables(cells, columns, "gap", "cells.csv")
    assert groups.rows == [["g", "1,234", "1.0"]]
    assert (classes.head, classes.text) == (["class", "n", "gap"], [2])
    assert classes.caption == "By class: 5 cells, the largest gap first"
    assert [row[0] for row in classes.rows] == ["a", "b", "c", "none", "nan"]
    _, lowest = table.cell_tables(cells, columns, "gap", "cells.csv", 1)
    assert lowest.caption == "By class: 5 cells, the lowest gap first"
    assert [row[0] for row in lowest.rows] == ["c", "b", "a", "none", "nan"]


@pytest.mark.parametrize(
    ("n", "folded", "rows"), [(20, False, 20), (21, True, 21), (201, True, 200)]
)
def test_many_cells_are_folded_and_more_are_in_a_file(n: int, folded: bool, rows: int) -> None:
    cells = [{"kind": "class", "name": str(i), "n": 1, "x": float(i)} for i in range(n)]
    (classes,) = table.cell_tables(cells, [], "x", "all.csv")
    assert (classes.folded, len(classes.rows), classes.rows[0][0]) == (folded, rows, str(n - 1))
    assert classes.caption.endswith("; the first 200, all are in all.csv") == (n > 200)


def test_an_estimate_has_its_interval_below_it_where_there_is_one() -> None:
    one = {"value": 0.5, "low": 0.25, "high": 0.75}
    assert table.estimate(one, str) == ("0.5", "0.25 to 0.75")
    assert table.estimate({"value": 0.5, "low": None, "high": None}, str)[1] == "interval undefined"
    assert table.estimate({"value": math.nan, "low": 0, "high": 1}, str) == "undefined"
    other = {"drop": 0.5, "drop_low": 0.25, "drop_high": 0.75}
    assert table.estimate(other, str, "drop", "drop_") == table.estimate(one, str)
