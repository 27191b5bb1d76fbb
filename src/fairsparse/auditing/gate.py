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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fairsparse.auditing.document import Document
from fairsparse.auditing.findings import LOST_MORE
from fairsparse.core import InputError
from fairsparse.registry import nearest

OPERATORS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}
WORST = {"worst_drop": ("drop", "high"), "worst_extra_drop": ("excess_drop", "excess_high")}
"""Finding -> the columns of its value and of its upper bound."""
_RULE = re.compile(r"\s*(?P<finding>.+?)\s*(?P<operator><=|>=|<|>)\s*(?P<limit>[-+.\deE]+)\s*")


@dataclass(frozen=True)
class PolicyRule:
    """One rule of a policy."""

    text: str  # as the policy has it
    finding: str
    operator: str
    limit: float
    candidate: str | None  # the one it holds for; None for every candidate
    until: datetime.date | None  # last day of its exemption
    reason: str  # of the exemption
    line: int  # of the policy file


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
    """Read a policy; `InputError` with the line, when something in it is not understood."""
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
    rules = _mapping(path, root, ("rules",)).get("rules") if root is not None else None
    if not isinstance(rules, yaml.SequenceNode) or not rules.value:
        raise _wrong(path, rules, "a policy is 'rules:' with a list of rules")
    return [_rule(path, node) for node in rules.value]


def _line(node: Any) -> int:
    return 1 if node is None else int(node.start_mark.line) + 1


def _wrong(path: str | Path, node: Any, what: str) -> InputError:
    return InputError(f"{path}, line {_line(node)}: {what}")


def _mapping(path: str | Path, node: Any, allowed: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise _wrong(path, node, f"must have keys: {', '.join(allowed)}")
    entries: dict[str, Any] = {}
    for key, value in node.value:
        if key.value not in allowed:
            hint = nearest(str(key.value), allowed)
            raise _wrong(path, key, f"unknown key '{key.value}'{hint}; known: {', '.join(allowed)}")
        if key.value in entries:
            raise _wrong(path, key, f"'{key.value}' is given twice")
        entries[key.value] = value
    return entries


def _text(entries: Mapping[str, Any], key: str) -> str:
    return str(getattr(entries.get(key), "value", ""))


def _rule(path: str | Path, node: Any) -> PolicyRule:
    plain = isinstance(node, yaml.ScalarNode)
    entries = {"rule": node} if plain else _mapping(path, node, ("rule", "candidate", "exempt"))
    written = _text(entries, "rule")
    match = _RULE.fullmatch(written)
    try:
        limit = float(match["limit"]) if match else math.nan
    except ValueError:
        limit = math.nan
    if match is None or not math.isfinite(limit):
        raise _wrong(
            path,
            node,
            f"'{written}' is no rule; write FINDING <= NUMBER, such as"
            " worst_extra_drop.upper <= 0.02",
        )
    until, reason = None, ""
    if "exempt" in entries:
        until, reason = _exemption(path, entries["exempt"])
    return PolicyRule(
        " ".join(written.split()),
        match["finding"],
        match["operator"],
        limit,
        _text(entries, "candidate") if "candidate" in entries else None,
        until,
        reason,
        _line(node),
    )


def _exemption(path: str | Path, node: Any) -> tuple[datetime.date, str]:
    entries = _mapping(path, node, ("until", "reason"))
    reason = _text(entries, "reason").strip()
    try:
        until = datetime.date.fromisoformat(_text(entries, "until"))
    except ValueError:
        what = "an exemption needs 'until', a date such as 2030-01-31"
        raise _wrong(path, node, what) from None
    if not reason:
        raise _wrong(path, node, "an exemption needs a 'reason'")
    return until, reason


def facts(audit: Document, candidate: str) -> dict[str, float]:
    """Every finding of a candidate that a rule can name, and its value."""
    named: dict[str, float | None] = {}
    tables: dict[str, Any] = {**audit}

    def rows(table: str) -> list[dict[str, Any]]:
        return [row for row in tables[table] if row["candidate_name"] == candidate]

    def put(name: str, row: dict[str, Any], value: str, low: str, high: str) -> None:
        named.update({name: row[value], f"{name}.lower": row[low], f"{name}.upper": row[high]})

    def put_roles(name: str, row: dict[str, Any]) -> None:
        for role in ("reference", "candidate", "change"):
            if role in row:
                put(f"{name}.{role}", row, role, f"{role}_low", f"{role}_high")

    for row in rows("measures"):
        prefix = "" if row["attribute"] == "class" else f"{row['attribute']}/"
        put_roles(prefix + row["measure"], row)
    cells = rows("cells")
    for attribute in ["", *dict.fromkeys(row["attribute"] for row in cells)]:
        prefix = f"{attribute}/" if attribute else ""
        of = [row for row in cells if attribute in ("", row["attribute"]) and row["p"] is not None]
        for name, keys in WORST.items():
            for key, bound in zip(keys, ("", ".upper"), strict=True):
                values = [row[key] for row in of if row[key] is not None]
                named[f"{prefix}{name}{bound}"] = max(values, default=None)
    for row in cells:
        where = f"{row['attribute']}/{row['cell']}"
        named[f"{where}/candidate"] = row["candidate"]
        put(f"{where}/drop", row, "drop", "low", "high")
        put(f"{where}/extra_drop", row, "excess_drop", "excess_low", "excess_high")
    for row in rows("calibration"):
        where = "" if row["attribute"] == "all" else f"{row['attribute']}/{row['cell']}/"
        put_roles(f"{where}overconfidence", row)
    named["behind"] = sum(row["finding"] == LOST_MORE for row in cells)
    for row in rows("overall"):
        named |= {key: row[key] for key in ("churn", "kappa")}
    return {name: math.nan if value is None else float(value) for name, value in named.items()}


def judge(audit: Document, rules: list[PolicyRule], today: datetime.date) -> list[Judgement]:
    """Hold an audit against a policy; a finding that is undefined breaks its rule.

    `InputError` for a rule on a finding or candidate that the audit does not have.
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
