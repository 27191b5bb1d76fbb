"""The command exemplars, and models as inputs of audit: from runs, files and configurations."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from test_audit_command import program

from fairsparse.auditing.exemplars import exemplars
from fairsparse.report import exemplars as exemplars_report
from report.page import Page

RUN = (
    "data: {name: digits, longtail: 0.1}\nmodel: {name: mlp, hidden: [16]}\n"
    "training: {epochs: 1, batch_size: 64}\nmethods: [{name: magnitude, finetune: 0.2}]\n"
    "sparsities: [0.9]\nseeds: [0, 1]\n"
)
"""Two runs of little pictures."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    Path("c.yaml").write_text(RUN)
    assert program("run c.yaml --out r", monkeypatch) == 0
    capsys.readouterr()
    return [f"r/magnitude-0.9-seed{seed}" for seed in (0, 1)]


def test_exemplars_of_runs_show_the_pictures(
    runs: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dense = " ".join(f"--reference {run}:dense" for run in runs)
    pruned = " ".join(f"--candidate {run}" for run in runs)
    assert program(f"exemplars {dense} {pruned} --inputs {runs[0]} --out e", monkeypatch) == 0
    out = " ".join(capsys.readouterr().out.split())
    found = json.loads(Path("e/exemplars.json").read_text())
    assert found["format"] == "fairsparse-exemplars/2"
    assert found["smallest_p"] == pytest.approx(1 / 3)
    archives = [
        dict(np.load(io.BytesIO(Path(f"{run}/predictions.npz").read_bytes()))) for run in runs
    ]
    y = archives[0]["test_y"]
    kinds = [[a[f"test_{kind}"].argmax(1) for a in archives] for kind in ("dense", "sparse")]
    expected = exemplars(*kinds, y, class_names=range(10))
    modal = int(expected.examples["modal"].sum())
    assert 0 < modal == len(found["exemplars"])
    assert f"Of {len(y)} examples, {modal} (" in out
    table = pd.read_csv("e/exemplars.csv")
    assert len(table) == modal
    assert table["taxicab"].is_monotonic_decreasing
    first = table.iloc[0]
    row = int(first["example"].removeprefix("row ")) - 1
    assert expected.examples.loc[row, "taxicab"] == pytest.approx(first["taxicab"])
    assert y[row] == int(str(first["y"]).split()[-1])
    page = Page(Path("e/report.html").read_text())
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert 1 <= len(pictures) <= exemplars_report.MOST_EXAMPLES
    assert all(str(p["src"]).startswith("data:image/png;base64,") for p in pictures)
    assert str(pictures[0]["alt"]).startswith(f"{first['example']}: ")
    assert len({p["src"] for p in pictures}) > 1


def test_models_are_run_on_the_test_split_of_a_run(
    runs: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        "import fairsparse\n"
        f"def before():\n    r = fairsparse.load({runs[0]!r})\n"
        "    r.model.load_state_dict(r.dense)\n    return r.model\n"
        f"def after():\n    return fairsparse.load({runs[0]!r}).model\n"
    )
    Path("loaded_of_a_test.py").write_text(code)
    same = f"--reference {runs[0]}:dense --candidate p={runs[0]} --resamples 50 --out a"
    models = "--reference loaded_of_a_test:before --candidate p=loaded_of_a_test:after"
    assert program(f"audit {same}", monkeypatch) == 0
    expected = json.loads(Path("a/audit.json").read_text())
    for inputs in (runs[0], "c.yaml"):
        line = f"audit {models} --inputs {inputs} --resamples 50 --out b"
        assert program(line, monkeypatch) == 0
        found = json.loads(Path("b/audit.json").read_text())
        assert found["cells"] == expected["cells"]
        assert found["overall"] == expected["overall"]
    assert found["calibration"][0]["reference_ece"] == pytest.approx(
        expected["calibration"][0]["reference_ece"], abs=1e-4
    )
    assert Path("b/calibration.csv").is_file()
    sys.modules.pop("loaded_of_a_test")
    capsys.readouterr()
    rules = "rules: [overconfidence.candidate.upper <= -0.9, overconfidence.change >= -1]"
    Path("p.yaml").write_text(rules)
    assert program("gate b/audit.json --policy p.yaml", monkeypatch) == 1
    out = capsys.readouterr().out
    assert "broken: overconfidence.candidate.upper" in out
    assert "kept: overconfidence.change" in out


def test_exemplars_of_texts_show_what_the_network_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["rather good", "rather bad"]
    rows = [f"film {i} was {words[i % 2]},{words[i % 2][7:]},{'pq'[i // 2 % 2]}" for i in range(80)]
    Path("t.csv").write_text("text,label,g\n" + "\n".join(rows) + "\n")
    Path("t.yaml").write_text(
        "data: {name: text, path: t.csv, groups: [g], vocab_size: 120, max_length: 16}\n"
        "model: {name: bert, hidden: 16, layers: 1, heads: 2, intermediate: 16}\n"
    )
    code = (
        "import torch\n"
        "def one():\n    return lambda x: torch.tensor([[1.0, 0.0]]).expand(len(x), 2)\n"
        "def two():\n    return lambda x: torch.tensor([[0.0, 1.0]]).expand(len(x), 2)\n"
    )
    Path("rules_of_a_test.py").write_text(code)
    models = "--reference rules_of_a_test:one --candidate rules_of_a_test:two"
    assert program(f"exemplars {models} --inputs t.yaml --out e", monkeypatch) == 0
    found = json.loads(Path("e/exemplars.json").read_text())
    assert len(found["exemplars"]) == found["n"]  # everybody's prediction changed
    page = Path("e/report.html").read_text()
    assert page.count("<blockquote") == min(found["n"], exemplars_report.MOST_EXAMPLES)
    assert "rather good" in page or "rather bad" in page
    sys.modules.pop("rules_of_a_test")


def hostile(**more: object) -> str:
    names = ["<script>alert(1)</script>", "=1+1"]
    found = exemplars([[0, 1, 1]], [[1, 1, 0]], [0, 1, 1], class_names=[0, 1])
    table = found.examples.assign(y=[names[0], names[1], names[1]])
    made = type(found)(table, found.cells.assign(cell=names[: len(found.cells)]), 0.01)
    labels = ["<b>a", "b", "c"]
    return exemplars_report.html(exemplars_report.ExemplarReport(made, 1, 1, labels, **more))  # type: ignore[arg-type]


def test_everything_shown_is_escaped() -> None:
    for show in (None, lambda at: "<img src=x onerror=alert(1)>"):
        page = hostile(show=show)
        assert "<script>" not in page
        assert "<img src=x" not in page
        assert "<b>a" not in page
        Page(page)


def test_nothing_found_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    table = pd.DataFrame({"id": ["a", "b"], "y": ["n", "y"], "prediction": ["n", "y"]})
    table.to_csv("p.csv", index=False)
    assert program("exemplars --reference p.csv --candidate p.csv --out e", monkeypatch) == 0
    assert "Of 2 examples, 0 (0.00" in " ".join(capsys.readouterr().out.split())
    assert json.loads(Path("e/exemplars.json").read_text())["exemplars"] == []


BAD = {
    "--reference p.csv --candidate gone.csv": "gone.csv: no such file",
    "--reference p.csv --candidate a.onnx": "a.onnx: is a model, and models need examples",
    "--reference p.csv --candidate p.csv --inputs p.csv": "p.csv: cannot be read",
    "--reference p.csv --candidate p.csv --inputs gone": "gone: no such file",
}


@pytest.mark.parametrize("line", list(BAD))
def test_bad_input_is_told_in_one_line(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("p.csv").write_text("id,y,prediction\na,n,n\nb,y,y\n")
    Path("a.onnx").write_bytes(b"x")
    assert program(f"exemplars {line} --out e", monkeypatch) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert BAD[line] in err
    assert not Path("e").exists()
