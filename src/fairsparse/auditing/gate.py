"""A gate: rules that an audit has to keep, from a policy file with exemptions that end.

A rule is ``FINDING OPERATOR NUMBER``. Findings are addressed by name:

* ``accuracy``, or ``ATTRIBUTE/MEASURE`` (``sex/equalized_odds``; of classes the measure alone),
  then ``.reference``, ``.candidate`` or ``.change``, and ``.lower`` or ``.upper`` for that bound of
  its interval: ``accuracy.change.lower >= -0.01``
* ``worst_drop`` and ``worst_extra_drop``, over all tested cells, or ``ATTRIBUTE/worst_drop`` over
  those of one attribute; ``.upper`` is the largest upper bound
* ``ATTRIBUTE/CELL/drop``, ``/extra_drop`` or ``/candidate`` of one cell (``sex/female/drop.upper``)
* with probabilities ``overconfidence`` and ``ATTRIBUTE/CELL/overconfidence``, mean confidence less
  accuracy, each with ``.reference``, ``.candidate`` or ``.change``, as measures have it
* ``churn``, ``kappa``, and ``behind``: how many cells lost more than others
"""

from __future__ import annotations

import datetime
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fairsparse.auditing.document import CellRow, Document
from fairsparse.auditing.findings import LOST_MORE
from fairsparse.core import InputError
from fairsparse.registry import nearest

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
WORST = {"worst_drop": ("drop", "high"), "worst_extra_drop": ("excess_drop", "excess_high")}
"""Finding -> the columns of its value and of its upper bound."""
_RULE = re.compile(r"\s*(?P<finding>.+?)\s*(?P<operator><=|>=|<|>)\s*(?P<limit>[-+.\deE]+)\s*")
_KEYS = ("rule", "candidate", "exempt")


@dataclass(frozen=True)
class PolicyRule:
    """One rule of a policy.

    Parameters
    ----------
    text : str
        As the policy has it.
    finding, operator : str
    limit : float
    candidate : str or None
        The one it holds for; None for every candidate.
    until : date or None
        Last day of its exemption, with its `reason`.
    line : int
        Of the policy file.
    """

    text: str
    finding: str
    operator: str
    limit: float
    candidate: str | None
    until: datetime.date | None
    reason: str
    line: int


@dataclass(frozen=True)
class Judgement:
    """A rule on one candidate: ``kept``, ``broken``, or broken and ``exempt``."""

    rule: PolicyRule
    candidate: str
    value: float
    status: str

    def __str__(self) -> str:
        value = "undefined" if math.isnan(self.value) else f"{self.value:.4g}"
        text = f"{self.status}: {self.rule.text} ({self.candidate}: {value})"
        if self.status == "exempt":
            text += f" until {self.rule.until}: {self.rule.reason}"
        return text


def read_policy(path: str | Path) -> list[PolicyRule]:
    """Read a policy.

    Raises
    ------
    InputError
        With the line, when something in it is not understood.
    """
    try:
        root = yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "it"
        raise InputError(f"{path}: {where} is not YAML ({getattr(error, 'problem', '')})") from None
    entries = _mapping(path, root, ("rules",)) if root is not None else {}
    rules = entries.get("rules")
    if not isinstance(rules, yaml.SequenceNode) or not rules.value:
        line = rules.start_mark.line + 1 if rules is not None else 1
        raise InputError(f"{path}, line {line}: a policy is 'rules:' with a list of rules")
    return [_rule(path, node) for node in rules.value]


def _mapping(path: str | Path, node: Any, allowed: tuple[str, ...]) -> dict[str, Any]:
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        raise InputError(f"{path}, line {line}: must have keys: {', '.join(allowed)}")
    entries: dict[str, Any] = {}
    for key, value in node.value:
        at = key.start_mark.line + 1
        if key.value not in allowed:
            hint = nearest(str(key.value), allowed)
            raise InputError(
                f"{path}, line {at}: unknown key '{key.value}'{hint}; known: {', '.join(allowed)}"
            )
        if key.value in entries:
            raise InputError(f"{path}, line {at}: '{key.value}' is given twice")
        entries[key.value] = value
    return entries


def _rule(path: str | Path, node: Any) -> PolicyRule:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.ScalarNode):
        entries: dict[str, Any] = {"rule": node}
    else:
        entries = _mapping(path, node, _KEYS)
    written = str(getattr(entries.get("rule"), "value", ""))
    match = _RULE.fullmatch(written)
    try:
        limit = float(match["limit"]) if match else math.nan
    except ValueError:
        limit = math.nan
    if match is None or not math.isfinite(limit):
        raise InputError(
            f"{path}, line {line}: '{written}' is no rule; write FINDING <= NUMBER, such as"
            " worst_extra_drop.upper <= 0.02"
        )
    until, reason = None, ""
    if "exempt" in entries:
        until, reason = _exemption(path, entries["exempt"])
    name = entries.get("candidate")
    return PolicyRule(
        " ".join(written.split()),
        match["finding"],
        match["operator"],
        limit,
        None if name is None else str(name.value),
        until,
        reason,
        line,
    )


def _exemption(path: str | Path, node: Any) -> tuple[datetime.date, str]:
    entries = _mapping(path, node, ("until", "reason"))
    line = node.start_mark.line + 1
    reason = str(getattr(entries.get("reason"), "value", "")).strip()
    try:
        until = datetime.date.fromisoformat(str(getattr(entries.get("until"), "value", "")))
    except ValueError:
        raise InputError(
            f"{path}, line {line}: an exemption needs 'until', a date such as 2030-01-31"
        ) from None
    if not reason:
        raise InputError(f"{path}, line {line}: an exemption needs a 'reason'")
    return until, reason


def facts(audit: Document, candidate: str) -> dict[str, float]:
    """Every finding of a candidate that a rule can name, and its value."""
    named: dict[str, float] = {}

    def put(name: str, value: float | None) -> None:
        named[name] = math.nan if value is None else float(value)

    def put_bounded(name: str, row: Mapping[str, Any], value: str, low: str, high: str) -> None:
        put(name, row[value])
        put(f"{name}.lower", row[low])
        put(f"{name}.upper", row[high])

    def put_roles(name: str, row: Mapping[str, Any]) -> None:
        for role in ("reference", "candidate", "change"):
            if role in row:
                put_bounded(f"{name}.{role}", row, role, f"{role}_low", f"{role}_high")

    for measure in audit["measures"]:
        if measure["candidate_name"] != candidate:
            continue
        of_classes = measure["attribute"] == "class"
        name = measure["measure"]
        put_roles(name if of_classes else f"{measure['attribute']}/{name}", measure)
    cells = [row for row in audit["cells"] if row["candidate_name"] == candidate]
    tested = [row for row in cells if row["p"] is not None]
    for attribute in ["", *dict.fromkeys(row["attribute"] for row in cells)]:
        of = [row for row in tested if not attribute or row["attribute"] == attribute]
        prefix = f"{attribute}/" if attribute else ""
        for name, (key, high) in WORST.items():
            put(f"{prefix}{name}", _largest(of, key))
            put(f"{prefix}{name}.upper", _largest(of, high))
    for row in cells:
        where = f"{row['attribute']}/{row['cell']}"
        put(f"{where}/candidate", row["candidate"])
        put_bounded(f"{where}/drop", row, "drop", "low", "high")
        put_bounded(f"{where}/extra_drop", row, "excess_drop", "excess_low", "excess_high")
    for sure in audit["calibration"]:
        if sure["candidate_name"] == candidate:
            everyone = sure["attribute"] == "all"
            where = "" if everyone else f"{sure['attribute']}/{sure['cell']}/"
            put_roles(f"{where}overconfidence", sure)
    put("behind", sum(row["finding"] == LOST_MORE for row in cells))
    for one in audit["overall"]:
        if one["candidate_name"] == candidate:
            put("churn", one["churn"])
            put("kappa", one["kappa"])
    return named


def _largest(cells: list[CellRow], key: str) -> float:
    rows: list[Mapping[str, Any]] = list(cells)
    values = [row[key] for row in rows if row[key] is not None]
    return max(values) if values else math.nan


def judge(audit: Document, rules: list[PolicyRule], today: datetime.date) -> list[Judgement]:
    """Hold an audit against a policy; a finding that is undefined breaks its rule.

    Raises
    ------
    InputError
        For a rule on a finding or candidate that the audit does not have.
    """
    verdicts = []
    named = {name: facts(audit, name) for name in audit["candidates"]}
    for rule in rules:
        if rule.candidate is not None and rule.candidate not in named:
            raise InputError(
                f"policy line {rule.line}: no candidate '{rule.candidate}'"
                f"{nearest(rule.candidate, named)}; candidates: {', '.join(named)}"
            )
        for candidate in audit["candidates"] if rule.candidate is None else [rule.candidate]:
            values = named[candidate]
            if rule.finding not in values:
                raise InputError(
                    f"policy line {rule.line}: unknown finding '{rule.finding}'"
                    f"{nearest(rule.finding, values)}; see 'fairsparse gate --findings AUDIT'"
                )
            value = values[rule.finding]
            kept = not math.isnan(value) and OPERATORS[rule.operator](value, rule.limit)
            exempt = rule.until is not None and today <= rule.until
            status = "kept" if kept else "exempt" if exempt else "broken"
            verdicts.append(Judgement(rule, candidate, value, status))
    return verdicts
