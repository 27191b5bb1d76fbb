"""One decorated function is all that a metric takes: reports, files and rules follow from it."""

from __future__ import annotations

import csv
import datetime
import json
import math
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
from made import TEN, comparison_report, of_records, record, run_report
from page import BAR, Page

from fairsparse.auditing.document import read_document
from fairsparse.auditing.engine import Audit, audit
from fairsparse.auditing.gate import judge, read_policy
from fairsparse.cli import program
from fairsparse.fairness.measure.counts import Array, Counts
from fairsparse.fairness.measure.degradations import DEGRADATIONS, degradation, drops
from fairsparse.fairness.measure.metric import FRACTION
from fairsparse.fairness.measure.metrics import METRICS, metric
from fairsparse.report import phrases
from fairsparse.report.audit.page import write
from fairsparse.report.run import tables
from fairsparse.report.sweep import page as sweep_page

control_metrics, main_metrics = map(of_records, (tables.control_metrics, sweep_page.main_metrics))

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "audit.schema.json").read_text())
THEIL = (1.5 * math.log(1.5) + 0.5 * math.log(0.5)) / 2
"""Of accuracies 3/4 and 1/4, which are 1.5 and 0.5 times their mean."""
APART = 0.25**2
"""Variance of the drops .15 and .65 from .9, which lie .25 off their mean."""


@pytest.fixture
def two_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A metric and a degradation metric that are registered as long as a test runs."""
    for registry in (METRICS, DEGRADATIONS):
        monkeypatch.setattr(registry, "_items", dict(registry._items))

    @metric("theil", "Theil index", "lower", "class", unit=FRACTION)
    def theil(c: Counts) -> Array:
        """Theil index of accuracy over classes."""
        a = c.accuracy("class") / c.accuracy("class").mean(-1, keepdims=True)
        return (a * np.log(np.where(a > 0, a, 1))).mean(-1)

    @degradation("drop_variance", "variance of drops", "lower", "class", unit=FRACTION)
    def drop_variance(reference: Counts, candidate: Counts) -> Array:
        """Variance over classes of the drop in accuracy."""
        return drops(reference, candidate, "class").var(-1)


def audited() -> Audit:
    """Two classes of 400: the reference has 90 % of each right, the candidate 3/4 and 1/4."""
    y = np.repeat(["no", "yes"], 400)
    at, other = np.tile(np.arange(400), 2) / 400, np.repeat(["yes", "no"], 400)
    rate = np.repeat([0.75, 0.25], 400)
    sex, age = np.tile(["a", "b"], 400), np.tile(["old", "old", "young", "young"], 200)
    reference, candidate = np.where(at < 0.9, y, other), np.where(at < rate, y, other)
    return audit(reference, candidate, y, groups={"sex": sex, "age": age}, resamples=200)


def test_an_audit_measures_them_once_and_leaves_other_tests_alone(two_more: None) -> None:
    with pytest.MonkeyPatch.context() as undone:
        for registry, name in ((METRICS, "theil"), (DEGRADATIONS, "drop_variance")):
            rest = {k: v for k, v in registry._items.items() if k != name}
            undone.setattr(registry, "_items", rest)
        before = audited()
    found = audited()
    new = found.measures["measure"].isin(["theil", "drop_variance"])
    theil, apart = found.measures[new].to_dict("records")
    assert (theil["measure"], theil["attribute"]) == ("theil", "class")
    assert (theil["reference"], theil["candidate"]) == pytest.approx((0, THEIL))
    assert theil["change_low"] < theil["change"] < theil["change_high"]
    assert 0 < theil["p"] < 1e-6  # 200 draws are no bound
    assert (apart["measure"], apart["attribute"]) == ("drop_variance", "class")
    assert apart["candidate_low"] < apart["candidate"] == pytest.approx(APART)
    assert math.isnan(apart["p"])
    (accuracy,) = found.measures.query("measure == 'accuracy'")["p"]
    assert accuracy == pytest.approx(2 * 0.5**320)  # 60 and 260 lost, none gained: McNemar's
    assert found.tests == before.tests + 1
    unadjusted = found.measures[~new].reset_index(drop=True).drop(columns="p_adjusted")
    pd.testing.assert_frame_equal(unadjusted, before.measures.drop(columns="p_adjusted"))
    pd.testing.assert_frame_equal(found.cells, before.cells)


def test_the_files_of_an_audit_tell_them(two_more: None, tmp_path: Path) -> None:
    found = audited()
    write(found, tmp_path)
    page = Page((tmp_path / "report.html").read_text())
    name, *values, p = page.row("Theil index")
    assert "Theil index of accuracy over classes." in name
    assert [v.split(BAR)[0] for v in values] == ["0.00000", f"{THEIL:.5f}", f"+{THEIL:.5f}"]
    (adjusted,) = found.measures.query("measure == 'theil'")["p_adjusted"]
    assert (p, adjusted < 0.001) == ("< 0.001", True)
    row = page.row("variance of drops")
    assert [v.split(BAR)[0] for v in row[1:]] == ["–", f"{APART:.5f}", "–", "–"]
    for file in ("summary.md", "model_card.md"):
        lines = (tmp_path / file).read_text().replace(phrases.SPACE, " ").splitlines()
        (line,) = (x for x in lines if x.startswith("| Theil index |"))
        assert line.startswith(f"| Theil index | class | 0.00000 | {THEIL:.5f} | +{THEIL:.5f} | +")
        (line,) = (x for x in lines if x.startswith("| variance of drops |"))
        assert line.startswith(f"| variance of drops | class | – | {APART:.5f} | – | ")
        assert "%" not in line
        assert sum(x.startswith("| accuracy | all | 90.00 % | 50.00 % |") for x in lines) == 1
    with (tmp_path / "measures.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["measure"] in ("theil", "drop_variance")]
    assert [float(row["candidate"]) for row in rows] == pytest.approx([THEIL, APART])
    jsonschema.validate(json.loads((tmp_path / "audit.json").read_text()), SCHEMA)


def test_the_gate_takes_rules_on_them(two_more: None, tmp_path: Path) -> None:
    write(audited(), tmp_path)
    rules = {
        "theil.candidate <= 0.14": "kept",
        "theil.change.lower >= 0.13": "broken",
        "drop_variance.candidate < 0.06": "broken",
        "drop_variance.candidate.upper > 0.0625": "kept",
    }
    policy = tmp_path / "policy.yaml"
    policy.write_text("rules:\n" + "".join(f"  - {rule}\n" for rule in rules))
    verdicts = judge(
        read_document(tmp_path / "audit.json"), read_policy(policy), datetime.date(2030, 1, 1)
    )
    assert [v.status for v in verdicts] == list(rules.values())


def test_the_report_of_a_run_tells_them(two_more: None) -> None:
    run = record(TEN)
    page, audit = Page(run_report(run)), run["audit"]
    expected = [audit["metrics"]["theil"][role]["value"] for role in ("reference", "candidate")]
    row = page.row("Theil index")
    assert [v.split(BAR)[0] for v in row[1:3]] == [f"{v:.5f}" for v in expected]
    assert "%" not in "".join(row)
    assert row[-1] in ("more unequal", "less unequal", "data do not tell")
    (value,) = page.row("variance of drops")[1:]
    assert value.split(BAR)[0] == f"{audit['degradation']['drop_variance']['value']:.5f}"


def test_the_report_of_many_runs_tells_them(two_more: None) -> None:
    runs = [record(TEN, seed=seed) for seed in (0, 1)]
    page = Page(comparison_report(runs))
    audits = [run["audit"] for run in runs]
    for label, values in (
        ("Theil index", [a["candidate"]["values"]["theil"] for a in audits]),
        ("variance of drops", [a["degradation"]["drop_variance"]["value"] for a in audits]),
    ):
        (at,) = (i for i, row in enumerate(page.rows) if label in row)
        column = page.rows[at].index(label)
        shown = next(row[column] for row in page.rows[at:] if row[0] == "lth")
        assert shown.split(BAR)[0] == f"{np.mean(values):.5f}"


def test_lists_name_them(two_more: None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program.app(["list", "metrics"])
    text = " ".join(capsys.readouterr().out.split())
    assert (
        "theil Theil index of accuracy over classes. Theil index, a plain number; lower is better"
    ) in text
    assert "drop_variance Variance over classes of the drop in accuracy." in text
    assert "that of the worst served. range over classes (MCD), in %" in text


def test_a_report_of_an_old_record_shows_what_is_no_longer_registered() -> None:
    run = record(TEN, resamples=20)
    run["audit"]["metrics"]["gone_away"] = run["audit"]["metrics"]["mcd"]
    value = run["audit"]["metrics"]["mcd"]["candidate"]["value"]
    row = Page(run_report(run)).row("gone away")
    assert row[2].split(BAR)[0] == f"{value:.3f}"  # not per cent: nobody knows what it is


def test_tables_of_chosen_metrics_have_accuracy_the_gap_and_what_asks_to_be_there() -> None:
    run = record(["no", "yes"], ["a", "b"], cells="equalized-odds", resamples=20)
    assert control_metrics(run) == [
        "accuracy", "equalized_odds", "mcd", "accuracy_gap", "demographic_parity",
    ]  # fmt: skip
    assert main_metrics(run) == [
        "accuracy", "cwv", "cwv_corrected", "mcd", "worst_class_accuracy", "accuracy_gap",
        "equalized_odds", "worst_group_accuracy",
    ]  # fmt: skip
    run["cells"] = "demographic-parity"
    assert control_metrics(run)[:3] == ["accuracy", "demographic_parity", "mcd"]
    assert main_metrics(run)[-1] == "demographic_parity"
