"""The gate as a command: its exit status is the verdict, whatever happens to what it prints."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from fairsparse.auditing.document import document
from fairsparse.auditing.engine import audit
from runs import call

Capture = pytest.CaptureFixture[str]
KEPT, BROKEN = "rules:\n- churn <= 1\n", "rules:\n- churn <= 1\n- kappa >= 1\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with an audit, and policies that it keeps and breaks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    rng = np.random.default_rng(0)
    y, group = rng.integers(0, 2, 400), rng.choice(["é", "b|c"], 400)
    models = (np.where(rng.random(400) < wrong, 1 - y, y) for wrong in (0.1, 0.2))
    Path("a").mkdir()
    found = document(audit(*models, y, groups={"größe": group}, resamples=50))
    Path("a/audit.json").write_text(json.dumps(found))
    Path("kept.yaml").write_text(KEPT)
    Path("broken.yaml").write_text(BROKEN)
    return tmp_path


def status(arguments: str, redirection: str = "", **environment: str) -> int:
    """Exit status of the program in a shell that does something to its streams."""
    line = f'"$PYTHON" -m fairsparse {arguments} {redirection}'
    return subprocess.run(
        ["bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"],
        env={**os.environ, "PYTHON": sys.executable, **environment},
        capture_output=True,
        timeout=120,
    ).returncode


@pytest.mark.parametrize(
    ("policy", "redirection", "code"),
    [
        ("kept", "| true", 0),
        ("kept", "> /dev/full", 0),
        ("kept", ">&- 2>&-", 0),
        ("broken", "| true", 1),
        ("broken", "> /dev/full", 1),
        ("none", "> /dev/full 2>&1", 2),
    ],
)
def test_the_status_does_not_depend_on_who_listens(
    policy: str, redirection: str, code: int
) -> None:
    assert status(f"gate a --policy {policy}.yaml --findings", redirection) == code


def test_the_status_does_not_depend_on_the_encoding() -> None:
    ascii_only = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    for policy, code in (("kept", 0), ("broken", 1)):
        assert status(f"gate a --policy {policy}.yaml --findings", **ascii_only) == code
    assert status("gate --help", "| true") != 1
    assert status("list methods", "| true") == 0


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("{rules: [churn <= 1]", "not valid YAML"),
        ("rules: " + "[" * 100_000, "nested more than 50 deep"),
        ("rules:\n- churn <= 1\nrules:\n- churn <= 1", "line 3: 'rules' is given twice"),
        ("rules: [churn <= 2]", "this finding is between 0 and 1"),
        (None, "No such file"),
    ],
)
@pytest.mark.parametrize("more", [[], ["--findings"]])
def test_a_policy_is_read_whatever_else_is_asked(
    policy: str | None, message: str, more: list[str], capsys: Capture
) -> None:
    Path("p.yaml").unlink(missing_ok=True)
    if policy is not None:
        Path("p.yaml").write_text(policy)
    ended = call(capsys, "gate", "a", "--policy", "p.yaml", *more)
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1


def test_faults_of_the_audit_are_no_verdict(capsys: Capture) -> None:
    Path("deep.json").write_text("[" * 100_000)
    ended = call(capsys, "gate", "deep.json", "--policy", "kept.yaml")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert call(capsys, "gate", ".", "--policy", "kept.yaml").code == 2
    assert call(capsys, "gate", "a").code == 2


def test_a_summary_comes_first(capsys: Capture) -> None:
    ended = call(capsys, "gate", "a", "--policy", "broken.yaml")
    assert ended.out.splitlines()[0] == "gate: broken (1 broken, 1 kept)"
    assert len(ended.out.splitlines()) == 3
    Path("p.yaml").write_text(
        f"{KEPT}- {{rule: kappa >= 1, exempt: {{until: 2999-01-01, reason: a plan}}}}"
    )
    ended = call(capsys, "gate", "a/audit.json", "--policy", "p.yaml", "--findings")
    assert ended.code == 0
    assert ended.out.splitlines()[-3] == "gate: kept (1 exempt, 1 kept)"
    assert "candidate  größe/untested  0" in ended.out.splitlines()


def test_names_make_no_lines_of_their_own(capsys: Capture) -> None:
    found = json.loads(Path("a/audit.json").read_text())
    name = "x\nkept: y\x1b[2J"
    found["candidates"] = [name]
    for table in ("overall", "measures", "cells", "calibration"):
        for row in found[table]:
            row["candidate_name"] = name
    Path("a/audit.json").write_text(json.dumps(found))
    line = ("gate", "a", "--policy", "broken.yaml", "--findings", "--junit", "g.xml")
    ended = call(capsys, *line)
    assert ended.code == 1
    assert all(c.isprintable() for c in ended.out.replace("\n", ""))
    kept = [line for line in ended.out.splitlines() if line.startswith("kept")]
    assert len(kept) == 1
    assert r"(x\nkept: y\x1b[2J: 0." in kept[0]
    assert ElementTree.parse("g.xml").getroot().attrib["failures"] == "1"


def test_junit_names_what_was_judged_by_what(capsys: Capture) -> None:
    Path("p.yaml").write_text(
        f"{BROKEN}- {{rule: churn <= 0, exempt: {{until: 2999-01-01, reason: a plan}}}}"
    )
    assert call(capsys, "gate", "a", "--policy", "p.yaml", "--junit", "x/g.xml").code == 1
    root = ElementTree.parse("x/g.xml").getroot()
    assert root.tag == "testsuites"
    counts = {"tests": "3", "failures": "1", "errors": "0", "skipped": "1"}
    assert root.attrib == {"name": "fairsparse gate", **counts}
    told = {p.attrib["name"]: p.attrib["value"] for p in root.iter("property")}
    assert told == {
        "audit": "a/audit.json",
        "audit.sha256": hashlib.sha256(Path("a/audit.json").read_bytes()).hexdigest(),
        "policy": "p.yaml",
        "policy.sha256": hashlib.sha256(Path("p.yaml").read_bytes()).hexdigest(),
    }
    cases = {case.attrib["name"]: [part.tag for part in case] for case in root.iter("testcase")}
    assert cases == {"churn <= 1": [], "kappa >= 1": ["failure"], "churn <= 0": ["skipped"]}
    (failure,) = root.iter("failure")
    assert failure.attrib["message"].startswith("broken: kappa >= 1 (candidate: 0.")


def test_an_earlier_verdict_never_stays(capsys: Capture) -> None:
    line = ("gate", "a", "--junit", "g.xml", "--policy")
    assert call(capsys, *line, "kept.yaml").code == 0
    Path("kept.yaml").write_text("rules: [chrun <= 1]")
    assert call(capsys, *line, "kept.yaml").code == 2
    root = ElementTree.parse("g.xml").getroot()
    assert (root.attrib["tests"], root.attrib["errors"]) == ("1", "1")
    (error,) = root.iter("error")
    assert "unknown finding 'chrun'" in error.attrib["message"]
    assert call(capsys, *line[:-1]).code == 2  # without a policy
    assert not Path("g.xml").exists()


def test_an_audit_removes_verdicts_on_the_one_before(capsys: Capture) -> None:
    frame = pd.DataFrame({"id": range(100), "y": [0, 1] * 50, "prediction": [0, 1] * 50})
    frame.to_csv("m.csv", index=False)
    line = ("audit", "--reference", "m.csv", "--candidate", "x=m.csv", "--out", "a")
    Path("a/other.xml").write_text("<mine/>")
    assert call(capsys, "gate", "a", "--policy", "kept.yaml", "--junit", "a/v.xml").code == 0
    assert Path("a/v.xml").exists()
    assert call(capsys, *line, "--resamples", "0").code == 2  # nothing lost where nothing is made
    assert Path("a/v.xml").exists()
    assert call(capsys, *line, "--resamples", "50").code == 0
    assert not Path("a/v.xml").exists()
    assert Path("a/other.xml").exists()
    assert json.loads(Path("a/audit.json").read_text())["candidates"] == ["x"]


def test_github_gets_annotations_and_a_summary(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("p%.yaml").write_text(
        f"{BROKEN}- {{rule: churn <= 0, exempt: {{until: 2999-01-01, reason: '<b>50 %'}}}}"
    )
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    plain = call(capsys, "gate", "a", "--policy", "p%.yaml").out
    assert not Path("summary.md").exists()
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    for _ in range(2):
        ended = call(capsys, "gate", "a", "--policy", "p%.yaml")
    assert ended.code == 1
    assert ended.out.startswith(plain)
    error, warning = ended.out.removeprefix(plain).splitlines()
    assert error.startswith("::error file=p%25.yaml,line=3,title=fairsparse gate::broken: kappa")
    assert warning.startswith("::warning file=p%25.yaml,line=4,title=fairsparse gate::exempt: ch")
    assert warning.endswith("<b>50 %25")
    summary = Path("summary.md").read_text()
    assert summary.count("### gate: broken (1 broken, 1 exempt, 1 kept)\n\n* kept: churn") == 2
    assert "&lt;b&gt;50 %" in summary


def test_what_was_left_out_is_refused_by_the_gate(capsys: Capture) -> None:
    n = 400
    y, group = np.arange(n) % 2, np.where(np.arange(n) < 300, "a", "b")
    right = pd.DataFrame({"id": range(n), "y": y, "prediction": y, "group": group})
    right.drop(columns="group").to_csv("dense.csv", index=False)
    right[right["group"] == "a"].drop(columns="group").to_csv("lacks.csv", index=False)
    right[["id", "group"]].to_csv("people.csv", index=False)
    right[["id", "group"]][:1].to_csv("one.csv", index=False)

    def judged(candidate: str, groups: str, *more: str, policy: str = KEPT) -> tuple[int, str]:
        Path("p.yaml").write_text(policy)
        files = ("--reference", "dense.csv", "--candidate", candidate, "--groups", groups)
        made = call(capsys, "audit", *files, "--out", "b", "--resamples", "50", *more)
        if made.code:
            return made.code, made.err
        ended = call(capsys, "gate", "b", "--policy", "p.yaml")
        return ended.code, ended.out

    assert judged("dense.csv", "people.csv")[0] == 0
    code, out = judged("lacks.csv", "people.csv")
    assert (code, "broken: unmatched <= 0, by default (lacks: 100)" in out) == (1, True)
    code, err = judged("lacks.csv", "people.csv", "--allow-unmatched", "99")
    assert (code, "100 of 400 examples are not in all files" in err) == (2, True)
    untested = f"{KEPT}- untested <= 3\n"  # b, and either class within b
    for allow in ("100", "0.25"):
        more = ("--allow-unmatched", allow)
        assert judged("lacks.csv", "people.csv", *more, policy=untested)[0] == 0
    code, out = judged("dense.csv", "one.csv")
    assert (code, "broken: unknown <= 0, by default (dense: 399)" in out) == (1, True)
    assert judged("dense.csv", "people.csv", "--allow-unmatched", "many")[0] == 2


def test_a_ledger_is_kept_and_told(capsys: Capture) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    for name in ("dense", "one", "two"):
        said = np.where(rng.random(200) < 0.1, 1 - y, y)
        pd.DataFrame({"id": range(200), "y": y, "prediction": said}).to_csv(f"{name}.csv")
    for name, told in (("one", "first audit"), ("two", "audit 2 of it"), ("one", "first audit")):
        line = ("audit", "--reference", "dense.csv", "--candidate", f"{name}.csv", "--out", "b")
        ended = call(capsys, *line, "--resamples", "50", "--ledger", "ledger.json")
        assert ended.code == 0, ended.err
        assert told in " ".join(ended.out.split())
        assert told in Path("b/report.html").read_text()
        assert told in Path("b/summary.md").read_text()
        k = 2 if name == "two" else 1
        found = json.loads(Path("b/audit.json").read_text())
        assert found["basis"]["audits"] == k
        assert found["settings"]["alpha"] == pytest.approx(0.05 * 6 / (np.pi * k) ** 2)
    Path("ledger.json").write_text("{")
    before = Path("b/audit.json").read_bytes()
    ended = call(capsys, *line, "--ledger", "ledger.json")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert Path("b/audit.json").read_bytes() == before
