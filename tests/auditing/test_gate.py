"""Policies: what rules can name, when they are kept, and how a bad one is told."""

from __future__ import annotations

import copy
import datetime
import json
import math
import re
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from test_audit import audited, people

from fairsparse.auditing.document import Document, document, read_document, schema
from fairsparse.auditing.gate import facts, judge, read_policy
from fairsparse.core import InputError

TODAY = datetime.date(2030, 1, 15)
FOUND = document(audited(people(1000), resamples=50))
CELLS = FOUND["cells"]
DISAGREE = "candidates, cells and tables do not agree"


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
        ("rules:\n- {rule: a <= 1, exempt: {until: 2030-01-01, reason: null}}", "needs a 'reason'"),
        ("rules:\n- {rule: a <= 1, exempt: {until: 2030-01-01, reason: ~}}", "needs a 'reason'"),
        ("rules:\n- {rule: a <= 1, exempt: {until: 2030-01-01, reason: ' '}}", "needs a 'reason'"),
        ("rules:\n- {rule: a <= 1, exempt: {until: null, reason: b}}", "needs 'until', a date"),
        ("rules:\n- {rule: a <= 1, exempt: null}", "line 2: must have keys: until, reason"),
        ("rules:\n- {rule: a <= 1, candidate: null}", "line 2: 'candidate' has to be a name"),
        ("rules:\n- {rule: [a <= 1]}", "line 2: 'rule' has to be a text"),
        ("rules:\n- null", "line 2: '' is no rule"),
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


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [
        ("churn <= 2", "between 0 and 1"),
        ("churn >= -0.1", "between 0 and 1"),
        ("kappa >= -2", "between -1 and 1"),
        ("behind >= -1", "between 0 and inf"),
        ("unmatched.share <= 5", "between 0 and 1"),
        ("age/unknown.share < 2", "between 0 and 1"),
        ("at_chance <= 2", "between 0 and 1"),
        ("worst_drop.upper <= 5", "between -1 and 1"),
        ("age/worst_extra_drop <= 2", "between -1 and 1"),
        ("age/old/drop.upper <= 2", "between -1 and 1"),
        ("age/old/candidate >= 90", "between 0 and 1"),
        ("accuracy.candidate.lower >= 90", "between 0 and 1"),
        ("accuracy.candidate.lower >= -0.5", "between 0 and 1"),
        ("accuracy.change.lower >= -1.5", "between -1 and 1"),
        ("sex/equalized_odds.candidate <= 1.01", "between 0 and 1"),
        ("max_excess_drop.candidate <= 2", "between -1 and 1"),
    ],
)
def test_limits_that_a_finding_cannot_reach_are_refused(
    rule: str, allowed: str, tmp_path: Path
) -> None:
    rules = read_policy(policy(tmp_path, f"rules:\n- churn <= 1\n- {rule}"))
    told = f"policy line 3: '{rule}': this finding is {allowed};"
    with pytest.raises(InputError, match=re.escape(told)):
        judge(FOUND, rules, TODAY)


def test_limits_at_the_ends_and_of_plain_numbers_are_taken(tmp_path: Path) -> None:
    rules = ["churn <= 1", "kappa >= -1", "accuracy.change >= -1", "untested <= 300"]
    assert statuses(tmp_path, *rules, "cev.candidate <= 1000") == ["kept"] * 5


def changed(basis: dict[str, object] | None = None, **top: object) -> Document:
    found = copy.deepcopy(FOUND)
    found["basis"] |= basis or {}  # type: ignore[typeddict-item]
    return found | top  # type: ignore[return-value, operator]


def told(found: Document, tmp_path: Path, *rules: str) -> list[str]:
    text = "rules:\n" + "\n".join(f"  - {rule}" for rule in rules)
    return [str(v) for v in judge(found, read_policy(policy(tmp_path, text)), TODAY)]


@pytest.mark.parametrize(
    ("basis", "broken"),
    [
        ({"unmatched": 1}, "unmatched <= 0, by default (candidate: 1)"),
        ({"unmatched": 6, "allowed": 5}, "unmatched <= 5, by default (candidate: 6)"),
        ({"unknown": 1}, "unknown <= 0, by default (candidate: 1)"),
        ({"chance_p": 0.051}, "at_chance <= 0, by default (candidate: 1)"),
        ({"chance_p": math.nan}, "at_chance <= 0, by default (candidate: 1)"),
    ],
)
def test_what_was_not_seen_breaks_a_gate_by_default(
    basis: dict[str, object], broken: str, tmp_path: Path
) -> None:
    assert told(changed(basis), tmp_path, "churn <= 1")[1:] == [f"broken: {broken}"]


def test_a_policy_can_allow_what_was_not_seen(tmp_path: Path) -> None:
    found = changed({"unmatched": 10, "unknown": 5, "chance_p": 1.0})
    allow = ["unmatched <= 10", "unknown.share <= 0.005", "at_chance <= 1"]
    assert {line.split(":")[0] for line in told(found, tmp_path, *allow)} == {"kept"}
    # what is not allowed, allowed to too few, to another candidate, or the wrong way round
    assert len(told(found, tmp_path, *allow[:2])) == 3
    assert told(found, tmp_path, "unmatched <= 9", *allow[1:])[0].startswith("broken")
    ways = told(found, tmp_path, "unmatched >= 0", *allow[1:])
    assert [line for line in ways if "by default" in line] == [
        "broken: unmatched <= 0, by default (candidate: 10)"
    ]
    exempt = "{rule: unmatched <= 0, exempt: {until: 2030-01-15, reason: lost files}}"
    assert told(found, tmp_path, exempt, *allow[1:])[0].startswith("exempt: unmatched <= 0")


def test_a_rule_of_one_candidate_allows_no_other(tmp_path: Path) -> None:
    case = people(1000)
    several = {"a": case["candidate"], "b": case["reference"]}
    found = document(audited({**case, "candidate": several}, resamples=50))  # type: ignore[dict-item]
    found["basis"]["unmatched"] = 3
    lines = told(found, tmp_path, "{rule: unmatched <= 3, candidate: a}")
    assert lines == [
        "kept: unmatched <= 3 (a: 3)", "broken: unmatched <= 0, by default (b: 3)"
    ]  # fmt: skip


def test_where_nothing_was_tested_nothing_is_shown(tmp_path: Path) -> None:
    found = document(audited(people(1000), resamples=50, least=100_000))
    lines = told(found, tmp_path, "behind <= 0", "worst_drop <= 1", "age/behind <= 300")
    assert [line.split(" (")[1] for line in lines[:3]] == ["candidate: undefined)"] * 3
    assert all(line.startswith("broken") for line in lines)
    assert lines[3] == f"broken: untested <= 0, by default (candidate: {len(found['cells'])})"
    assert told(found, tmp_path, "untested.share <= 1")[0].startswith("kept")


def test_cells_that_were_not_tested_are_counted(tmp_path: Path) -> None:
    case = people(1000)
    case["age"][:3] = "new"
    found = document(audited(case, resamples=50))
    named = facts(found, "candidate")
    # new, new within each of three classes, new within each of two sexes
    assert named["untested"] == 6
    assert named["age/untested"] == 1
    assert named["sex/untested"] == 0
    assert named["untested.share"] == 6 / len(found["cells"])
    assert told(found, tmp_path, "churn <= 1")[1:] == [
        "broken: untested <= 0, by default (candidate: 6)"
    ]


@pytest.mark.parametrize("column", ["high", "drop"])
def test_a_worst_cell_without_a_number_is_undefined(column: str, tmp_path: Path) -> None:
    found = changed()
    worst = max((c for c in found["cells"]), key=lambda c: c["high"] or 0)
    worst[column] = None  # type: ignore[literal-required]
    finding = "worst_drop.upper" if column == "high" else "worst_drop"
    (line,) = told(found, tmp_path, f"{finding} <= 1")
    assert line == f"broken: {finding} <= 1 (candidate: undefined)"


def test_infinite_numbers_are_none(tmp_path: Path) -> None:
    found = changed()
    found["overall"][0]["churn"] = -math.inf
    assert told(found, tmp_path, "churn <= 1") == ["broken: churn <= 1 (candidate: undefined)"]


def test_names_are_parts_of_findings_whatever_they_hold(tmp_path: Path) -> None:
    case = people(1000)
    sex = np.where(case["sex"] == "a", "a/b", "x <= 1\nkept: y")
    groups = {"se/x": sex, "back\\slash": case["age"]}
    found = document(audited(case, groups=groups, resamples=50))
    named = facts(found, "candidate")
    assert r"se\/x/a\/b/drop.upper" in named
    assert r"se\/x/x <= 1\nkept: y/drop" in named
    assert r"back\\slash/worst_drop" in named
    assert all(name.isprintable() for name in named)
    lines = told(found, tmp_path, r"se\/x/a\/b/drop <= 1", r"'se\/x/x <= 1\nkept: y/drop <= 1'")
    assert [line.split(": ")[0] for line in lines] == ["kept", "kept"]
    assert len("".join(lines).splitlines()) == 1
    assert told(found, tmp_path, r"back\\slash/untested <= 5")[0].startswith("kept")


def test_cells_of_one_name_are_undefined(tmp_path: Path) -> None:
    found = changed()
    other = copy.deepcopy(next(c for c in found["cells"] if c["attribute"] == "sex"))
    found["cells"].append(other)
    finding = f"sex/{other['cell']}/drop"
    assert told(found, tmp_path, f"{finding} <= 1")[0].startswith(f"broken: {finding} <= 1")


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
        ("[" * 100_000, "is nested too deeply"),
        (json.dumps({**FOUND, "candidates": []}), "candidates: List should have at least 1 item"),
        (json.dumps({**FOUND, "candidates": ["a"]}), DISAGREE),
        (json.dumps({**FOUND, "candidates": ["candidate"] * 2}), DISAGREE),
        (json.dumps({**FOUND, "overall": []}), DISAGREE),
        (json.dumps({**FOUND, "cells": []}), DISAGREE),
        (json.dumps({**FOUND, "cells": FOUND["cells"][1:]}), DISAGREE),
        (json.dumps({**FOUND, "cells": [{**c, "finding": "fine"} for c in CELLS]}), DISAGREE),
        (json.dumps({**FOUND, "n": 0}), "n: Input should be greater than or equal to 1"),
    ],
)
def test_other_documents_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "audit.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_document(tmp_path / "audit.json")
    with pytest.raises(InputError, match="no such file"):
        read_document(tmp_path / "other.json")


def test_a_directory_is_its_audit(tmp_path: Path) -> None:
    (tmp_path / "audit.json").write_text(json.dumps(FOUND))
    assert read_document(tmp_path) == json.loads(json.dumps(FOUND))
    (tmp_path / "audit.json").unlink()
    with pytest.raises(InputError, match=r"audit\.json: no such file"):
        read_document(tmp_path)
