"""The files of an audit: complete, escaped, careful, and in agreement with its tables."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from page import BAR, SPACE, Page

from auditing.test_audit import audited, people
from fairsparse.auditing.engine import Audit, audit
from fairsparse.core import InputError
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
                assert len(re.findall(r"(?<!\\)\|", line)) in (8,), line
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
        "bom.json", "manifest.json",
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
    unclear = nothing.cells["detectable"].max()
    assert sentences.headline(nothing, "candidate") == (
        f"no class or group is shown to have lost; in each a drop of {100 * unclear:.1f}\xa0points"
        " would have been found"
    )
    few = audited(people(1000), resamples=50, least=2000)
    assert "No cell is large enough to be tested." in " ".join(
        sentences.paragraphs(few, "candidate")
    )
    assert sentences.headline(few, "candidate").startswith("nobody was compared")


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
    assert text.index("**same**: No class") < text.index("**worse**: ") < text.index("All of same")
    assert text.count("| model | who |") == 1
    assert "### worse" in model_card(found)


def test_no_number_is_invented_for_empty_cells() -> None:
    y = ["a", "b", "c", "a"]
    found = audit(["a", "b", "c", "b"], y, y, groups=["x", "x", "y", "y"], resamples=20)
    page = Page(html(found))
    assert page.row("b | y")[2:5] == ["undefined"] * 3
    assert page.row("b | y")[-1] == "empty"


def two_groups(lost: float, guessing: bool = False, n: int = 4000) -> Audit:
    """A candidate that gets a share of what women were right on wrong, and nothing else."""
    rng = np.random.default_rng(0)
    y, sex = rng.integers(0, 2, n), rng.choice(["female", "male"], n)
    before = rng.integers(0, 2, n) if guessing else np.where(rng.random(n) < 0.1, 1 - y, y)
    wrong = (sex == "female") & (rng.random(n) < lost)
    return audit(before, {"tiny": np.where(wrong, 1 - y, before)}, y, groups=sex, resamples=20)


def test_the_verdict_comes_first_with_its_figure_and_interval() -> None:
    found = two_groups(0.05)
    row = found.cells.set_index("cell").loc["female"]
    drop, low, high = (
        f"{100 * row[key]:.1f}" for key in ("excess_drop", "excess_band_low", "excess_band_high")
    )
    said = f"One group lost more than the others: female, {drop} points, {low} to {high}."
    text = " ".join(Page(html(found)).text.replace(SPACE, " ").split())
    assert text.index(said) < text.index("Accuracy") < text.index("Largest loss")
    assert text.index("Not told") < text.index("that lost most beyond the overall drop")
    assert text.index("that lost most beyond") < text.index("A cell is a class, a group, or")
    for name in ("sex", "excess", "CWV", "floor"):
        assert name not in text[: text.index("A cell is a class")]
    assert list(found.cells["finding"]).count("lost more than others") == 3  # in either class, too
    for made in (summary(found), model_card(found)):
        assert f"**{said}**" in made.replace(SPACE, " ")


def test_figures_say_how_many_are_not_told_and_what_would_have_been_found() -> None:
    found = two_groups(0.0, n=400)
    page = Page(html(found))
    text = " ".join(page.text.replace(SPACE, " ").split())
    assert (found.cells["finding"] == "data do not tell").sum() == 8
    assert "Not told8 of 88 data do not tell" in text
    cell = found.cells.set_index("cell").loc["female"]
    said = f"a drop of {100 * cell['detectable']:.1f} points would have been found"
    assert page.row("female")[-1] == f"data do not tell{BAR}{said}"
    assert said.split("points")[0] in text[text.index("Where the data do not tell") :]


def test_a_reference_that_guesses_is_told_before_anything_else(tmp_path: Path) -> None:
    found = two_groups(0.2, guessing=True)
    head = sentences.headline(found, "tiny").replace(SPACE, " ")
    assert head.startswith("the reference is hardly better than guessing (mean accuracy of the")
    assert "by guessing 50.0 %)" in head
    y = np.arange(600) % 3
    gone = audit(y, np.where(y == 2, 0, y), y, class_names=[0, 1, 2], resamples=20)
    assert sentences.headline(gone, "candidate").startswith("candidate hardly ever predicts “2”; ")
    assert "guessing" not in sentences.headline(two_groups(0.2), "tiny")


def test_who_lost_less_and_who_is_served_by_neither_are_told() -> None:
    rng = np.random.default_rng(0)
    y, group = rng.integers(0, 2, 3000), rng.choice(["a", "b", "c"], 3000)
    coin = rng.integers(0, 2, (2, 3000))
    models = [np.where(group == "c", coin[i], y) for i in (0, 1)]
    models[1] = np.where((group == "b") & (rng.random(3000) < 0.5), 1 - y, models[1])
    found = audit(*models, y, groups=group, resamples=20)
    assert "one group" in sentences.headline(found, "candidate")
    assert "served by neither model" in sentences.headline(found, "candidate")
    text = " ".join(sentences.paragraphs(found, "candidate"))
    assert "are shown to have lost less than the others" in text
    assert "are served by neither model, that is, no better than by guessing" in text


def test_the_summary_is_a_verdict_one_table_and_folds_and_fits() -> None:
    text = summary(FOUND)
    open_part = text[: text.index("<details>")]
    assert open_part.count("| --- | --- | --- | --- | --- | --- | --- |\n") == 1
    assert "\n| all | 1,000 | 89.2" in open_part
    assert "| sex x age: b \\| old |" in open_part
    assert text.count("<details>") == text.count("</details>") == 2
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 3000)
    groups = {f"{i} " + "x" * 300: rng.choice([c * 300 for c in "abcd"], 3000) for i in range(24)}
    flipped = np.where(rng.random(3000) < 0.3, 1 - y, y)
    long = audit(y, flipped, y, groups=groups, resamples=2, depth=1)
    assert len(summary(long)) < 65_536
    assert "see report.html" in summary(long)


def test_a_hugging_face_card_takes_the_model_card() -> None:
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard(model_card(FOUND))
    results = {r.metric_name: r.metric_value for r in card.data.eval_results}
    cells = FOUND.cells.set_index(["attribute", "cell"])
    for attribute, cell in (("class", "owl"), ("age", "old")):
        value = cells.loc[(attribute, cell), "candidate"]
        assert results[f"accuracy, {attribute}: {cell}"] == pytest.approx(value, abs=1e-6)
    assert card.data.model_name == "candidate"
    assert "| age: old | " in card.text
    assert hub.ModelCard(model_card(hostile())).data.eval_results


def test_the_bill_of_materials_is_cyclonedx_with_slices_and_intervals(tmp_path: Path) -> None:
    schema = pytest.importorskip("cyclonedx.schema")
    from cyclonedx.validation.json import JsonStrictValidator

    check = JsonStrictValidator(schema.SchemaVersion.V1_6).validate_str
    for found in (FOUND, hostile(), two_groups(0.0)):
        write(found, tmp_path)
        assert check((tmp_path / "bom.json").read_text()) is None
    write(FOUND, tmp_path)
    stored = json.loads((tmp_path / "bom.json").read_text())
    (reference, candidate) = stored["components"]
    metrics = candidate["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    row = FOUND.cells.set_index("cell").loc["old"]
    (drop,) = (m for m in metrics if (m["type"], m.get("slice")) == ("accuracy drop", "age: old"))
    ends = [float(drop["confidenceInterval"][end]) for end in ("lowerBound", "upperBound")]
    assert [float(drop["value"]), *ends] == pytest.approx([*row[["drop", "low", "high"]]], 1e-5)
    overall = FOUND.measures.query("measure == 'accuracy'").iloc[0]
    for component, role in ((reference, "reference"), (candidate, "candidate")):
        first = component["modelCard"]["quantitativeAnalysis"]["performanceMetrics"][0]
        assert (first["type"], "slice" in first) == ("accuracy", False)
        ends = [float(first["confidenceInterval"][end]) for end in ("lowerBound", "upperBound")]
        assert ends == pytest.approx([overall[f"{role}_low"], overall[f"{role}_high"]], 1e-5)
    at_risk = candidate["modelCard"]["considerations"]["fairnessAssessments"]
    assert at_risk[0]["groupAtRisk"] == "sex x age: b | old"
    assert check((tmp_path / "bom.json").read_text().replace('"value"', '"valeu"')) is not None


def test_the_manifest_has_the_digest_of_every_file_that_went_in(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("record.json", "predictions.npz", "note.txt"):
        (run / name).write_text(name)
    (tmp_path / "net.safetensors").write_bytes(b"weights")
    given = {
        "reference": f"{run}:dense",
        "candidate": f"package.nets:make@{tmp_path / 'net.safetensors'}",
        "--groups": str(run / "note.txt"),
    }
    write(FOUND, tmp_path / "a", given)
    stored = json.loads((tmp_path / "a" / "manifest.json").read_text())
    files = {one["role"]: one["files"] for one in stored["inputs"]}
    assert [Path(f["path"]).name for f in files["reference"]] == ["record.json", "predictions.npz"]
    digest = hashlib.sha256(b"weights").hexdigest()
    assert files["candidate"] == [
        {"path": (tmp_path / "net.safetensors").as_posix(), "bytes": 7, "sha256": digest}
    ]
    assert files["--groups"][0]["sha256"] == hashlib.sha256(b"note.txt").hexdigest()
    assert stored["settings"]["values"]["margin"] == 0.01
    bom = json.loads((tmp_path / "a" / "bom.json").read_text())
    assert bom["components"][1]["hashes"] == [{"alg": "SHA-256", "content": digest}]
    with pytest.raises(InputError, match=r"gone\.safetensors: cannot be read"):
        write(FOUND, tmp_path / "a", {"candidate": "nets:make@gone.safetensors"})
