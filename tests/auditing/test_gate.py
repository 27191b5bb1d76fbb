"""Policies: what rules can name, when they are kept, and how a bad one is told."""

from __future__ import annotations

import copy
import datetime
import json
from pathlib import Path

import jsonschema
import pytest
from test_audit import audited, people

from fairsparse.auditing.document import document, read_document, schema
from fairsparse.auditing.gate import facts, judge, read_policy
from fairsparse.core import InputError

TODAY = datetime.date(2030, 1, 15)
FOUND = document(audited(people(1000), resamples=50))


def policy(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    return path


def statuses(tmp_path: Path, *rules: str) -> list[str]:
    text = "rules:\n" + "\n".join(f"  - {rule}" for rule in rules)
    return [v.status for v in judge(FOUND, read_policy(policy(tmp_path, text)), TODAY)]


def test_findings_are_those_of_the_document() -> None:
    named = facts(FOUND, "candidate")
    gap = next(
        m for m in FOUND["measures"] if (m["attribute"], m["measure"]) == ("sex", "accuracy_gap")
    )
    assert named["sex/accuracy_gap.change.upper"] == gap["change_high"]
    assert named["sex/accuracy_gap.candidate"] == gap["candidate"]
    tested = [c for c in FOUND["cells"] if c["p"] is not None]
    assert named["worst_extra_drop.upper"] == max(c["excess_high"] for c in tested)
    assert named["worst_drop"] == max(c["drop"] for c in tested)
    ages = [c for c in tested if c["attribute"] == "age"]
    assert named["age/worst_drop.upper"] == max(c["high"] for c in ages)
    old = next(c for c in ages if c["cell"] == "old")
    assert named["age/old/drop.upper"] == old["high"]
    assert named["behind"] == sum(c["finding"] == "lost more than others" for c in FOUND["cells"])
    assert named["churn"] == FOUND["overall"][0]["churn"]


def test_rules_are_kept_or_broken_at_their_limit(tmp_path: Path) -> None:
    churn = facts(FOUND, "candidate")["churn"]
    rules = [f"churn {sign} {churn!r}" for sign in ("<=", ">=", "<", ">")]
    assert statuses(tmp_path, *rules) == ["kept", "kept", "broken", "broken"]


def test_an_exemption_ends(tmp_path: Path) -> None:
    def rule(until: str) -> str:
        return f"{{rule: behind <= 0, exempt: {{until: {until}, reason: a plan}}}}"

    rules = [rule("2030-01-15"), rule("2030-01-14"), "behind <= 0"]
    assert statuses(tmp_path, *rules) == ["exempt", "broken", "broken"]


def test_an_undefined_finding_breaks_its_rule(tmp_path: Path) -> None:
    found = copy.deepcopy(FOUND)
    found["overall"][0]["kappa"] = None
    rules = read_policy(policy(tmp_path, "rules: [kappa >= -1]"))
    (verdict,) = judge(found, rules, TODAY)
    assert verdict.status == "broken"
    assert "undefined" in str(verdict)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules:\n- churn <= x", "line 2: 'churn <= x' is no rule"),
        ("rules:\n- churn\n", "line 2: 'churn' is no rule"),
        (
            "rules:\n- behind <= 0\n- {rul: a <= 1}",
            r"line 3: unknown key 'rul' \(did you",
        ),
        ("rules:\n- {rule: a <= 1, rule: b <= 1}", "line 2: 'rule' is given twice"),
        ("rules:\n- {rule: a <= 1, exempt: {until: soon, reason: b}}", "needs 'until', a date"),
        ("rules:\n- {rule: a <= 1, exempt: {until: 2030-01-01}}", "needs a 'reason'"),
        ("rules: 3", "line 1: a policy is 'rules:'"),
        ("- a", r"line 1: must have keys: rules"),
        ("rules: [", "not valid YAML in line 1"),
        ("", "a policy is 'rules:'"),
    ],
)
def test_a_bad_policy_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_policy(policy(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: [chrun <= 1]", r"line 1: unknown finding 'chrun' \(did you mean 'churn'\?\)"),
        ("rules: [{rule: churn <= 1, candidate: x}]", "no candidate 'x'.*candidates: candidate"),
    ],
)
def test_a_rule_on_nothing_is_refused(tmp_path: Path, text: str, message: str) -> None:
    rules = read_policy(policy(tmp_path, text))
    with pytest.raises(InputError, match=message):
        judge(FOUND, rules, TODAY)


def test_documents_follow_the_published_schema() -> None:
    published = json.loads((Path(__file__).parents[2] / "docs/audit.schema.json").read_text())
    assert published == schema(), "run python docs/generate.py"
    as_json = json.loads(json.dumps(FOUND, allow_nan=False))
    jsonschema.validate(as_json, published)
    del as_json["cells"][0]["finding"]
    with pytest.raises(jsonschema.ValidationError, match="finding"):
        jsonschema.validate(as_json, published)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "not an audit of format fairsparse-audit/2"),
        ('{"format": "fairsparse-audit/0"}', "got fairsparse-audit/0"),
        ('{"format": "fairsparse-audit/2"}', "fairsparse: Field required"),
    ],
)
def test_other_documents_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "audit.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_document(tmp_path / "audit.json")
    with pytest.raises(InputError, match="no such file"):
        read_document(tmp_path / "other.json")
