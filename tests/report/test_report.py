"""Reports as readers get them: parsed, compared with their records, and read for careful words."""

from __future__ import annotations

import copy
import re
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import (
    FIVE,
    HOSTILE,
    MANY,
    TEN,
    comparison_report,
    of_records,
    record,
    run_report,
    sweep_records,
)
from page import BAR, SPACE, Page

from fairsparse.auditing.findings import LOST_MORE
from fairsparse.report import phrases
from fairsparse.report.run import page as run_page

run_paragraphs = of_records(run_page.run_paragraphs)
given_up = of_records(run_page.given_up)
tolerance = of_records(run_page.tolerance)
budget = of_records(run_page.budget)

MADE = {
    "classes": lambda: run_report(record(TEN)),
    "groups": lambda: run_report(record(["no", "yes"], FIVE, cells="equalized-odds")),
    "opportunity": lambda: run_report(record(["no", "yes"], FIVE, cells="equal-opportunity")),
    "parity": lambda: run_report(record(["no", "yes"], FIVE, cells="demographic-parity")),
    "hundred": lambda: run_report(record(MANY, n=4000, layers=60, loss=0.4)),
    "hostile": lambda: run_report(record(HOSTILE, HOSTILE[:3], cells="class-group")),
    "few": lambda: run_report(record(TEN, FIVE, n=30, cells="class-group")),
    "dense": lambda: run_report(record(TEN, method="dense")),
    "sweep": lambda: comparison_report(sweep_records(), {"lth-0.9-seed1": "lth 1/report.html"}),
    "hostile sweep": lambda: comparison_report(
        [record(HOSTILE, HOSTILE[:2], method=m, cells="class-group") for m in HOSTILE]
    ),
    "many": lambda: comparison_report([record(MANY, n=3000), record(MANY, n=3000, method="b")]),
    "only dense": lambda: comparison_report([record(TEN, method="dense")]),
}


@cache
def html(name: str) -> str:
    return MADE[name]()


@cache
def page(name: str) -> Page:
    return Page(html(name))


@pytest.mark.parametrize("name", MADE)
def test_a_report_is_one_closed_accessible_document(name: str) -> None:
    found = page(name)
    tags = [tag for tag, _ in found.tags]
    assert tags.count("h1") == tags.count("main") == tags.count("title") == 1
    assert not {"script", "link", "img", "iframe", "object", "base", "b"} & set(tags)
    for tag, attributes in found.tags:
        assert not any(key.startswith("on") for key in attributes)
        target = attributes.get("href") or attributes.get("src") or "#"
        assert target.startswith("#") or (tag, target) == ("a", "lth 1/report.html")
        if tag == "svg":
            assert attributes["role"] == "img"
            assert len(attributes["aria-label"] or "") > 20
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert not re.search(r"url\((?!#)|@import|https?:", html(name))


@pytest.mark.parametrize("name", MADE)
def test_words_are_careful_and_complete(name: str) -> None:
    text = page(name).text
    assert not re.search(r"\b(fair|unfair|debiased|unbiased model|nan|None|inf)\b", text)
    assert "{" not in text.replace("{}", "")


@pytest.mark.parametrize("name", MADE)
def test_every_colour_of_a_plot_is_defined_for_light_and_dark(name: str) -> None:
    light, dark = (
        set(re.findall(r"--([\w-]+):", block))
        for block in re.findall(r":root \{(.*?)\}", html(name), re.S)
    )
    assert light == dark
    styles = [a.get("style") or "" for tag, a in page(name).tags if tag != "html"]
    used = set(re.findall(r"var\(--([\w-]+)\)", " ".join(styles)))
    assert used <= light
    assert not re.search(r"#0[12]\w{4}", " ".join(styles))


def test_hostile_names_are_text_and_stay_whole() -> None:
    for name in ("hostile", "hostile sweep"):
        assert "<script" not in html(name)
        assert "<b>" not in html(name)
        text = "".join(v for row in page(name).rows for v in row)
        for hostile in HOSTILE:
            assert hostile.strip() in text
    labels = " ".join(label for plot in page("hostile").plot.values() for label in plot)
    assert "<script>alert(1)</script> |…" not in labels  # of names that begin alike the rest
    assert "<script…A & B" in labels
    assert "$a_b^$ 日本" in labels


@settings(max_examples=4, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=2, max_size=3))
def test_any_name_can_be_shown(names: list[str]) -> None:
    made = record(names, method=names[0], n=40, layers=1, epochs=1, resamples=20)
    assert "svg" in [tag for tag, _ in Page(run_report(made)).tags]


def test_measures_agree_with_the_record() -> None:
    audit = record(TEN)["audit"]
    for metric, form in (("accuracy", "percent"), ("mcd", "percent"), ("cwv", "fraction")):
        found = audit["metrics"][metric]
        row = page("classes").row(phrases.label(metric))
        scale, digits, unit = (100, 2, " %") if form == "percent" else (1, 5, "")
        for text, role in zip(row[1:3], ("reference", "candidate"), strict=True):
            value, low, high = (scale * found[role][k] for k in ("value", "low", "high"))
            expected = f"{value:.{digits}f}{unit}¦{low:.{digits}f} to {high:.{digits}f}{unit}"
            assert text == expected
        change = f"{scale * found['change']['value']:+.{digits}f}".replace("-", "−")
        assert row[3].split(BAR)[0] == change + (" points" if form == "percent" else "")
    assert (
        page("classes")
        .row("range of drops over classes")[1]
        .startswith(f"{100 * audit['degradation']['class_degradation_range']['value']:.2f} points")
    )


def test_cells_agree_with_the_record_and_come_by_drop() -> None:
    audit = record(["no", "yes"], FIVE, cells="equalized-odds")["audit"]
    for cell in audit["cells"]:
        row = page("groups").row(cell["name"], f"{cell['n']:,}")
        assert row[2:4] == [f"{100 * cell[role]:.1f} %" for role in ("reference", "candidate")]
        for entry, value, prefix in ((row[4], "drop", ""), (row[5], "excess_drop", "excess_")):
            number, interval = entry.replace("−", "-").split(BAR)
            assert float(number) == pytest.approx(100 * cell[value], abs=0.0501)
            expected = [100 * cell[f"{prefix}{end}"] for end in ("low", "high")]
            assert [float(v) for v in interval.split(" to ")] == pytest.approx(expected, abs=0.0501)
        assert row[6] == f"{cell['lost']} / {cell['gained']}"
        for text, p in zip(row[7:9], (cell["p_adjusted"], cell["excess_p_adjusted"]), strict=True):
            assert text == ("< 0.001" if p < 0.001 else f"{p:.3f}")
        assert row[9].split(BAR)[0] == cell["finding"]
        if cell["detectable"] is not None:
            drop = f"{100 * cell['detectable']:.1f}"
            assert row[9].endswith(f"a drop of {drop} points would have been found")
    shown = [
        float(r[4].split(BAR)[0].replace("−", "-")) for r in page("groups").rows if r[0] in FIVE
    ]
    assert len(shown) == 5
    assert shown == sorted(shown, reverse=True)


def test_other_facts_agree_with_the_record() -> None:
    found, made = page("classes"), record(TEN)
    assert found.row("features.2.weight") == [
        "features.2.weight", "10 x 100", "1,000", "100", "90 %",
    ]  # fmt: skip
    assert found.row("training steps") == ["training steps", "60", "180", "3.00 x"]
    assert found.row("seconds") == ["seconds", "2.0", "6.0", "3.00 x"]  # the sum over stages
    assert found.row("peak memory, GiB") == ["peak memory, GiB", "0.50", "1.00", "2.00 x"]
    assert found.row("seconds of the audit") == ["seconds of the audit", "–", "0.7", "–"]
    assert found.row("lth 0.90")[1:] == ["6", "0.3333", "91.67 %", "85.00 %¦digit 9", "2.0 s"]
    assert found.row("validation accuracy")[1:] == ["92.10 %", "91.30 %"]
    assert found.row("variance over cells")[1:] == ["0.00123", "0.00234"]
    assert found.row("data")[1].endswith(made["data"]["fingerprint"])
    assert made["data"]["notes"] in found.text
    assert "methods:\n- name: lth" in found.text
    assert [r[:3] for r in found.rows if "yes" in r] == [
        [level + SPACE + "%", f"90.00{SPACE}%", f"0.50{SPACE}points"] for level in ("50", "90")
    ]


def test_undefined_rates_are_named_and_not_numbers() -> None:
    made = record(TEN, FIVE, n=30, cells="class-group")
    empty = [c for c in made["audit"]["cells"] if c["n"] == 0]
    row = page("few").row("worst cell")
    assert row[1:] == [*["undefined"] * 3, "–", "undefined"]
    first = next(c["name"] for c in empty if c["kind"] == "class x group")
    assert f"too few examples of: {first}" in row[0]
    cell = page("few").row(first)
    assert cell[2:] == [*["undefined"] * 4, "0 / 0", "–", "–", "empty"]


def test_the_plot_of_many_cells_shows_both_ends() -> None:
    made = record(MANY, n=4000, layers=60, loss=0.4)
    (name, labels), *_ = page("hundred").plot.items()
    assert "of 100 classes, the 15 that lost most and the 15" in name
    shown = [label.split("  ")[0] for label in labels if label.startswith("class ")]
    drops = {c["name"]: c["drop"] for c in made["audit"]["cells"]}
    assert len(shown) == 30
    ranked = sorted(drops.values(), reverse=True)
    assert [drops[n] for n in shown] == pytest.approx(ranked[:15] + ranked[-15:])


def with_interval(metric: str, value: float, low: float | None, high: float | None) -> list[str]:
    made = record(TEN, resamples=20, loss=0.0)
    change = {"value": value, "low": low, "high": high, "dropped": 0.0, "how": "BCa"}
    made["audit"]["metrics"][metric]["change"] = change
    return run_paragraphs(made)


def test_sentences_claim_no_more_than_intervals_tell() -> None:
    tell = "do not tell whether accuracy changed"
    assert tell in with_interval("accuracy", -0.02, -0.05, 0.01)[0]
    assert tell in with_interval("accuracy", -0.02, None, None)[0]
    sure = with_interval("accuracy", -0.02, -0.05, -0.01)[0]
    assert tell not in sure
    assert "−2.00" in sure
    for low, high, said in [
        (0.001, 0.003, "is more unequal"),
        (-0.003, -0.001, "is less unequal"),
        (-0.001, 0.003, "do not tell"),
    ]:
        (gap,) = [p for p in with_interval("cwv", low, low, high) if "(CWV)" in p]
        assert said in gap


@pytest.mark.parametrize(
    ("metric", "change", "said"),
    [
        ("accuracy", (-0.1, -0.2, -0.05), "lower"),
        ("worst_class_accuracy", (0.1, 0.05, 0.2), "higher"),
        ("mcd", (0.1, 0.05, 0.2), "more unequal"),
        ("mcd", (-0.1, -0.2, -0.05), "less unequal"),
        ("mcd", (-0.1, -0.2, 0.0), "data do not tell"),
        ("mcd", (0.1, None, None), "data do not tell"),
        ("mcd", (0.0, 0.0, 0.0), "no change"),
        ("mcd", (None, None, None), "undefined"),
    ],
)
def test_readings(metric: str, change: tuple[float | None, ...], said: str) -> None:
    assert phrases.reading(metric, dict(zip(("value", "low", "high"), change, strict=True))) == said


def test_who_lost_more_is_named_with_n_and_doubt() -> None:
    made = record(TEN, resamples=20)
    digit = made["audit"]["cells"][3]
    digit |= {"excess_drop": 0.25, "excess_low": -0.01, "excess_high": 0.5, "n": 1234}
    digit |= {"excess_p": 0.5, "excess_p_adjusted": 1.0, "finding": "data do not tell"}
    lost = run_paragraphs(made)[1].replace(SPACE, " ")
    assert "none is shown to have lost more than the others" in lost
    assert "lost “class: digit 3”: 25.00 points (n = 1,234, 95 % interval −1.00 to 50.00" in lost
    assert "adjusted p = 1.000). That is no proof" in lost
    digit |= {"excess_p_adjusted": 0.0004, "finding": LOST_MORE}
    lost = run_paragraphs(made)[1].replace(SPACE, " ")
    assert "Of 10 cells that were tested, 1 lost more than the others" in lost
    assert lost.endswith("adjusted p < 0.001).")


def test_a_record_from_before_there_were_findings_has_a_report() -> None:
    made = record(TEN, resamples=20)
    for cell in made["audit"]["cells"]:
        del cell["finding"], cell["detectable"]
    for metric in made["audit"]["metrics"].values():
        del metric["p"], metric["p_adjusted"]
    found = Page(run_report(made))
    digit = made["audit"]["cells"][3]
    assert found.row("digit 3", str(digit["n"]))[9] == "–"
    assert found.row(phrases.label("mcd"))[4] == "–"
    assert "none is shown to have lost more" in run_paragraphs(made)[1]


def test_a_class_that_is_hardly_predicted_is_named() -> None:
    made = record(TEN, resamples=20)
    assert given_up(made) == ""
    n = len(made["data"]["class_names"])
    dense, sparse = np.zeros((2, 2, n, n), dtype=int)
    for table in (dense, sparse):
        table[0] += 40 * np.eye(n, dtype=int)
        table[1] += 60 * np.eye(n, dtype=int)
    # of class 3's 100 examples, 9 are still found, and one of class 4's is taken for it
    sparse[0, 3, 3], sparse[0, 3, 0] = 8, 32
    sparse[1, 3, 3], sparse[1, 3, 0] = 1, 59
    made["counts"] = {"dense": dense.tolist(), "sparse": sparse.tolist()}
    text = given_up(made)
    assert "“digit 3” is hardly predicted: for 9 of 1,000 test examples, of which 100" in text
    assert "the dense network predicted it for 100" in text
    assert text in run_paragraphs(made)
    sparse[1, 4, 3] = 1  # ten predictions, a tenth of those who belong to it
    made["counts"]["sparse"] = sparse.tolist()
    assert given_up(made) == ""
    sparse[:, 5, 0] += sparse[:, 5, 5]
    sparse[:, 3, 3] = sparse[:, 5, 5] = sparse[:, 4, 3] = 0
    made["counts"]["sparse"] = sparse.tolist()
    assert "The same holds for 1 other class." in given_up(made)


def test_tolerance_is_told_as_it_was() -> None:
    made = record(TEN, resamples=20)
    assert "at most 1.00" in tolerance(made)
    assert "was met: on validation, accuracy went from 92.10" in tolerance(made)
    assert "was not met" in tolerance({**made, "status": "eps_infeasible"})
    assert "collapsed" in tolerance({**made, "status": "collapsed"})
    del made["method"]["options"]["tolerance"]
    assert "promises no limit" in tolerance(made)


def test_a_budget_is_told_as_it_was() -> None:
    made = record(TEN, resamples=20)
    assert budget(made) == ""
    made["method"]["options"]["budget"] = {"measure": "excess-drop", "limit": 0.02}
    reached = made["sparsity"]["measured"]
    other = {"sparsity": reached / 2, "gap": 0.5, "gap_limit": 0.02}
    for gap, said in ((0.02, "was met"), (0.03, "was not met")):
        made["rounds"] = [other, {"sparsity": reached, "gap": gap, "gap_limit": 0.02}]
        text = budget(made).replace(SPACE, " ")
        assert f"budget {said}: on validation, the largest drop in accuracy of a cell" in text
        assert f"beyond the overall drop is {100 * gap:.2f} points, and at most 2.00" in text
    made["status"] = "gap_infeasible"
    assert "The tolerance, a loss of at most 1.00 points, was met" in tolerance(made).replace(
        SPACE, " "
    )
    assert "gap_infeasible, the fairness budget was not met" in run_report(made)
    assert "The fairness budget was not met: on validation" in run_report(made)
    made["method"]["options"]["budget"] |= {"measure": "variance"}
    assert "variance of the cells' rates is 0.03000, and at most 0.02000" in budget(made)


def test_a_ticket_that_is_less_sparse_than_asked_says_so() -> None:
    made = record(TEN, resamples=20)
    assert "Asked for" not in run_paragraphs(made)[0]
    made["sparsity"] |= {"measured": 0.8, "kept": 800}
    assert "removed 80 %" in run_paragraphs(made)[0].replace(SPACE, " ")
    assert "Asked for were 90 %." in run_paragraphs(made)[0].replace(SPACE, " ")


def test_reports_are_reproducible_and_leave_records_alone() -> None:
    made = record(TEN, FIVE)
    before = copy.deepcopy(made)
    assert run_report(made) == run_report(made)
    assert comparison_report([made]) == comparison_report([made])
    assert made == before


def test_a_run_says_how_its_findings_came_about() -> None:
    text = " ".join(page("classes").text.split())
    assert "A drop is the accuracy of the dense network less that of the sparse network" in text
    assert "Cells with fewer than 30 examples are not tested." in text
    assert "use up to 100 draws from seed 0." in text
