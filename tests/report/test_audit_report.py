"""The files of an audit: complete, escaped, careful, and in agreement with its tables."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from page import BAR, Page

from auditing.test_audit import audited, people
from fairsparse.auditing.engine import Audit, audit
from fairsparse.report.audit import sentences
from fairsparse.report.audit.page import html, model_card, summary, write

HOSTILE = ["<script>alert(1)</script>", '=HYPERLINK("http://x")', "a|b *c* `d`\n#e"]


def hostile() -> Audit:
    rng = np.random.default_rng(0)
    y = rng.choice(HOSTILE, 400)
    after = np.where(rng.random(400) < 0.2, rng.choice(HOSTILE, 400), y)
    groups = {"@name": rng.choice(["<b>", "-1+1", "ü|x"], 400)}
    return audit(y, {"<i>new</i>": after}, y, groups=groups, resamples=30)


FOUND = audited(people(1000), resamples=50)


def test_the_page_is_closed_accessible_and_without_scripts() -> None:
    page = Page(html(FOUND))
    tags = [tag for tag, _ in page.tags]
    assert "script" not in tags
    assert "link" not in tags
    assert not re.search(r'(?:src|href)="(?!#)', html(FOUND))
    for tag, attributes in page.tags:
        if tag == "svg":
            assert attributes["role"] == "img"
            assert len(attributes["aria-label"] or "") > 40
    row = page.row("b | old")
    cell = FOUND.cells.query("cell == 'b | old'").iloc[0]
    assert row[1] == f"{cell['n']:,}"
    assert row[4].split(BAR)[0] == f"{100 * cell['drop']:.1f}"
    assert row[-1] == "lost more than others"


def test_hostile_names_are_text_everywhere(tmp_path: Path) -> None:
    found = hostile()
    write(found, tmp_path)
    page = Page((tmp_path / "report.html").read_text())
    assert "script" not in [tag for tag, _ in page.tags]
    assert HOSTILE[0] in page.text
    for name in ("summary.md", "model_card.md"):
        text = (tmp_path / name).read_text()
        assert "<script>" not in text
        assert "<i>" not in text
        for line in text.splitlines():
            if line.startswith("|"):
                assert len(re.findall(r"(?<!\\)\|", line)) in (8, 9), line
    with (tmp_path / "cells.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    texts = [v for row in rows[1:] for v in row if not re.fullmatch(r"-?[\d.]+(e[-+]?\d+)?", v)]
    assert texts
    assert not any(v.startswith(("=", "+", "-", "@")) for v in texts)
    assert json.loads((tmp_path / "audit.json").read_text())["class_names"] == sorted(HOSTILE)


def test_tables_are_those_of_the_audit(tmp_path: Path) -> None:
    write(FOUND, tmp_path)
    cells = pd.read_csv(tmp_path / "cells.csv")
    pd.testing.assert_series_equal(cells["drop"], FOUND.cells["drop"])
    stored = json.loads((tmp_path / "audit.json").read_text())
    assert [c["drop"] for c in stored["cells"]] == pytest.approx(FOUND.cells["drop"].tolist())
    assert stored["tests"] == FOUND.tests
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {
        "report.html", "audit.json", "summary.md", "model_card.md", "measures.csv", "cells.csv",
    }  # fmt: skip


def test_sentences_say_what_was_shown_and_what_was_not() -> None:
    text = " ".join(sentences.paragraphs(FOUND, "candidate"))
    assert "lost more than the others" in text
    assert "“sex x age: b | old”" in text
    nothing = audited(people(1000, harm=0.0), resamples=50)
    text = " ".join(sentences.paragraphs(nothing, "candidate"))
    assert "none is shown to have lost more than the others" in text
    assert "That is no proof that nobody lost more" in text
    assert "is shown to have changed" in text
    assert sentences.headline(nothing, "candidate") == "no cell is shown to have lost"
    few = audited(people(1000), resamples=50, least=2000)
    assert "No cell is large enough to be tested." in sentences.paragraphs(few, "candidate")


def test_several_candidates_have_a_ranking_and_a_section_each() -> None:
    case = people(600)
    found = audit(
        case["reference"],
        {"same": case["reference"], "worse": case["candidate"]},
        case["y"],
        groups={"sex": case["sex"], "age": case["age"]},
        resamples=30,
    )
    assert found.candidates == ("same", "worse")
    page = Page(html(found))
    assert page.row("same")[2] == "0"
    assert int(page.row("worse")[2]) > 0
    text = summary(found)
    assert text.index("1. same") < text.index("2. worse") < text.index("## same")
    assert "### worse" in model_card(found)


def test_no_number_is_invented_for_empty_cells() -> None:
    y = ["a", "b", "c", "a"]
    found = audit(["a", "b", "c", "b"], y, y, groups=["x", "x", "y", "y"], resamples=20)
    page = Page(html(found))
    assert page.row("b | y")[2:5] == ["undefined"] * 3
    assert page.row("b | y")[-1] == "empty"
