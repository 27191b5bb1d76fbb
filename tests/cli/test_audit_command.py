"""The commands audit and gate: what they print, write and return."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fairsparse.cli import audit
from fairsparse.cli import program as cli

QUICK = "--resamples 50"


def people(n: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    y, group = rng.choice(["no", "yes"], n), rng.choice(["a", "b"], n)
    other = np.where(y == "yes", "no", "yes")
    dense = np.where(rng.random(n) < 0.1, other, y)
    pruned = np.where((group == "b") & (rng.random(n) < 0.3), other, dense)
    return pd.DataFrame({"id": range(n), "y": y, "dense": dense, "pruned": pruned, "group": group})


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    frame = people()
    for name in ("dense", "pruned"):
        table = frame[["id", "y", name]].rename(columns={name: "prediction"})
        table.to_csv(f"{name}.csv", index=False)
    frame[["id", "group"]].to_csv("people.csv", index=False)
    mails = [f"{i}@example.org" for i in frame["id"]]
    frame[["id"]].assign(mail=mails).to_csv("mails.csv", index=False)
    return tmp_path


def program(line: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["fairsparse", *line.split()])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def test_an_audit_prints_what_it_writes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "audit --reference dense.csv --candidate small=pruned.csv --candidate dense.csv"
    assert program(f"{line} --groups people.csv --out a {QUICK}", monkeypatch) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "lost more than the others" in out
    found = json.loads(Path("a/audit.json").read_text())
    assert found["candidates"] == ["dense", "small"]
    assert found["attributes"] == {"group": ["a", "b"]}
    assert "small: " in out
    assert out.index("dense: no class or group is shown to have lost") < out.index("small: ")


def test_a_gate_returns_what_it_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"audit --reference dense.csv --candidate pruned.csv --groups people.csv --out a {QUICK}"
    assert program(line, monkeypatch) == 0
    for rule, code in (("churn <= 1", 0), ("churn <= 0", 1), ("chrun <= 0", 2)):
        Path("p.yaml").write_text(f"rules: [{rule}]")
        assert program("gate a/audit.json --policy p.yaml", monkeypatch) == code
    out, err = capsys.readouterr()
    assert "kept: churn <= 1 (pruned: 0." in out
    assert "broken: churn <= 0" in out
    assert err.strip().splitlines() == [
        "fairsparse: policy line 1: unknown finding 'chrun' (did you mean 'churn'?); see"
        " 'fairsparse gate --findings AUDIT'"
    ]
    assert program("gate a/audit.json --findings", monkeypatch) == 0
    assert "pruned  group/b/drop.upper  0." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("audit --reference dense.csv --candidate none.csv", "none.csv: no such file"),
        ("audit --reference dense.csv --candidate reference=pruned.csv", "a name of its own"),
        (
            "audit --reference dense.csv --candidate pruned.csv --candidate pruned.csv",
            "a name of its own",
        ),
        ("audit --reference dense.csv --candidate pruned.csv --margin 2", "margin must be above 0"),
        (
            "audit --reference dense.csv --candidate pruned.csv --bins age",
            "--bins age: write COLUMN=K with a whole number K, such as age=4",
        ),
        (
            "audit --reference dense.csv --candidate pruned.csv --bins group=2",
            "bins: there is no attribute 'group'; there are: none",
        ),
        (
            "audit --reference dense.csv --candidate pruned.csv --positive zero",
            "positive 'zero' is not one of two classes; there are: no, yes",
        ),
        (
            "audit --reference dense.csv --candidate pruned.csv --groups mails.csv",
            "mails.csv: column 'mail' has 400 values in 400 rows and is no group of people",
        ),
        ("audit --reference dense.csv", "Missing option '--candidate'"),
        ("audit --reference dense.csv --candidate people.csv", "people.csv: has neither a column"),
        ("gate a/audit.json --policy p.yaml", "a/audit.json: no such file"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    line: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(Path().iterdir())
    assert program(line, monkeypatch) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert message in err
    assert sorted(Path().iterdir()) == before


def test_labels_are_read_as_the_options_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = people()
    frame["group"] = np.where(frame["id"] % 4 == 0, "NA", frame["group"])
    frame["age"] = 20 + frame["id"] % 40
    frame[["id", "group", "age"]].to_csv("people.csv", index=False)
    line = f"audit --reference dense.csv --candidate pruned.csv --groups people.csv {QUICK}"
    line += " --bins age=2 --depth 1"
    assert program(f"{line} --out a", monkeypatch) == 0
    found = json.loads(Path("a/audit.json").read_text())
    assert found["attributes"] == {"group": ["NA", "a", "b"], "age": ["20 to 39", "40 to 59"]}
    assert found["positive"] == "yes"
    assert "--missing" in " ".join(found["notes"])
    assert program(f"{line} --missing NA,? --positive no --out b", monkeypatch) == 0
    found = json.loads(Path("b/audit.json").read_text())
    assert found["attributes"]["group"] == ["a", "b"]
    assert found["positive"] == "no"
    assert "The positive class is 'no'" in " ".join(capsys.readouterr().out.split())
    assert "The positive class is 'no'" in Path("b/report.html").read_text().replace("&#39;", "'")


def test_an_audit_of_runs_is_the_runs_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("c.yaml").write_text(
        "data: {name: digits, longtail: 0.1}\nmodel: {name: mlp, hidden: [16]}\n"
        "training: {epochs: 1, batch_size: 64}\nmethods: [{name: magnitude, finetune: 0.2}]\n"
        "sparsities: [0.8]\n"
    )
    assert program("run c.yaml --out r", monkeypatch) == 0
    run = "r"  # a single run has no folder of its own
    line = f"audit --reference {run}:dense --candidate {run} --out a {QUICK}"
    assert program(line, monkeypatch) == 0
    capsys.readouterr()
    record = json.loads(Path(run, "record.json").read_text())
    audited = json.loads(Path("a/audit.json").read_text())
    same = ["n", "drop", "low", "high", "p", "p_adjusted", "excess_p", "excess_p_adjusted"]
    same += ["band_low", "excess_band_high", "finding"]
    mine = [[c["name"], *(c[key] for key in same)] for c in record["audit"]["cells"]]
    assert [[c["cell"], *(c[key] for key in same)] for c in audited["cells"]] == mine
    assert program(f"audit --reference no:dense --candidate {run}", monkeypatch) == 2
    assert "no: no such run directory" in capsys.readouterr().err
    Path(run, "predictions.npz").write_bytes(b"x")
    assert program(line, monkeypatch) == 2
    assert "predictions.npz: does not belong to the record.json" in capsys.readouterr().err


def test_candidates_are_known_by_what_their_paths_end_in(folder: Path) -> None:
    given = ["a/b.csv", "c.parquet", "runs/lth-0.9-seed0", "runs/lth-0.9-seed1:dense", "n=x.csv"]
    found = audit._named([*given, "m.pt2", "pkg.nets:make"])
    assert list(found) == [
        "b", "c", "lth-0.9-seed0", "lth-0.9-seed1:dense", "n", "m", "pkg.nets:make",
    ]  # fmt: skip
    assert found["n"] == "x.csv"
