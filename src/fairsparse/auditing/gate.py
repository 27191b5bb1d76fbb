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
* ``unmatched``, ``unknown`` and ``untested``: how many examples were left out, how many have an
  unknown group (``ATTRIBUTE/unknown``), how many cells were not tested (``ATTRIBUTE/untested``);
  each with ``.share``; and ``at_chance``, 1 where the reference is not shown to beat chance

The last four have to be 0, unless the policy has a rule of its own on them.

In names of attributes and cells a ``/`` is written ``\\/``, and so is what cannot be printed.
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

from fairsparse import yamls
from fairsparse.auditing.basis import LEVEL
from fairsparse.auditing.document import Document
from fairsparse.auditing.findings import LOST_MORE
from fairsparse.core import InputError
from fairsparse.fairness.inference.calibration import CALIBRATIONS
from fairsparse.fairness.measure.degradations import DEGRADATIONS
from fairsparse.fairness.measure.metric import PERCENT, RATIO
from fairsparse.fairness.measure.metrics import METRICS
from fairsparse.neutral import neutral
from fairsparse.registry import nearest

OPERATORS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}
WORST = {"worst_drop": ("drop", "high"), "worst_extra_drop": ("excess_drop", "excess_high")}
"""Finding -> the columns of its value and of its upper bound."""
UNTESTED = ("too few", "empty")
"""Findings of cells that were not tested."""
DEFAULTS = ("unmatched", "unknown", "untested", "at_chance")
"""Findings that have to be 0 where the policy does not bound them."""
COUNTS = ("behind", *DEFAULTS)
SIGNED = ("kappa", "drop", "extra_drop", "overconfidence", *WORST)
_PARTS = re.compile(r"(?:(?:[^/\\]|\\.)*/)*((?:[^/\\]|\\.)*)")
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
    line: int  # of the policy file; 0 of a rule that holds by default


@dataclass(frozen=True)
class Judgement:
    """A rule on one candidate: ``kept``, ``broken``, or broken and ``exempt``."""

    rule: PolicyRule
    candidate: str
    value: float
    status: str

    def __str__(self) -> str:
        value = "undefined" if math.isnan(self.value) else f"{self.value:.4g}"
        by_default = "" if self.rule.line else ", by default"
        text = f"{self.status}: {self.rule.text}{by_default} ({self.candidate}: {value})"
        if self.status == "exempt":
            text += f" until {self.rule.until}: {self.rule.reason}"
        return neutral(text)


def read_policy(path: str | Path) -> list[PolicyRule]:
    """Read a policy; `InputError` with the line, when something in it is not understood."""
    root = yamls.nodes(yamls.read(path), str(path))
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
        entries[key.value] = value
    return entries


def _text(path: str | Path, entries: Mapping[str, Any], key: str) -> str:
    """The text of an entry; empty where there is none, or null."""
    node = entries.get(key)
    if node is None or node.tag == "tag:yaml.org,2002:null":
        return ""
    if not isinstance(node, yaml.ScalarNode):
        raise _wrong(path, node, f"'{key}' has to be a text")
    return str(node.value).strip()


def _rule(path: str | Path, node: Any) -> PolicyRule:
    plain = isinstance(node, yaml.ScalarNode)
    entries = {"rule": node} if plain else _mapping(path, node, ("rule", "candidate", "exempt"))
    written = _text(path, entries, "rule")
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
        _candidate(path, node, entries) if "candidate" in entries else None,
        until,
        reason,
        _line(node),
    )


def _candidate(path: str | Path, node: Any, entries: Mapping[str, Any]) -> str:
    candidate = _text(path, entries, "candidate")
    if not candidate:
        raise _wrong(path, node, "'candidate' has to be a name; leave it out for all of them")
    return candidate


def _exemption(path: str | Path, node: Any) -> tuple[datetime.date, str]:
    entries = _mapping(path, node, ("until", "reason"))
    reason = _text(path, entries, "reason")
    try:
        until = datetime.date.fromisoformat(_text(path, entries, "until"))
    except ValueError:
        what = "an exemption needs 'until', a date such as 2030-01-31"
        raise _wrong(path, node, what) from None
    if not reason:
        raise _wrong(path, node, "an exemption needs a 'reason'")
    return until, reason


def escaped(name: str) -> str:
    r"""A name as a part of a finding: / and what cannot be printed are escaped.

    >>> print(escaped("a/b"), escaped("a\\b"), escaped("a\nb"))
    a\/b a\\b a\nb
    """
    return neutral(name.replace("\\", "\\\\").replace("/", "\\/"))


def facts(audit: Document, candidate: str) -> dict[str, float]:
    """Every finding of a candidate that a rule can name, and its value.

    NaN where it is undefined: there is no number, nothing was tested, or two cells have one name.
    """
    named: dict[str, float | None] = {}
    tables: dict[str, Any] = {**audit}

    def rows(table: str) -> list[dict[str, Any]]:
        return [row for row in tables[table] if row["candidate_name"] == candidate]

    def put(name: str, value: float | None) -> None:
        named[name] = None if name in named else value

    def put_with_ends(name: str, row: dict[str, Any], value: str, low: str, high: str) -> None:
        for end, key in (("", value), (".lower", low), (".upper", high)):
            put(f"{name}{end}", row[key])

    def put_roles(name: str, row: dict[str, Any]) -> None:
        for role in ("reference", "candidate", "change"):
            if role in row:
                put_with_ends(f"{name}.{role}", row, role, f"{role}_low", f"{role}_high")

    for row in rows("measures"):
        prefix = "" if row["attribute"] == "class" else f"{escaped(row['attribute'])}/"
        put_roles(prefix + row["measure"], row)
    cells = rows("cells")
    for attribute in [None, *dict.fromkeys(row["attribute"] for row in cells)]:
        of = [row for row in cells if attribute in (None, row["attribute"])]
        prefix = "" if attribute is None else f"{escaped(attribute)}/"
        for name, value in _of_cells(of, audit).items():
            put(f"{prefix}{name}", value)
    for row in cells:
        where = f"{escaped(row['attribute'])}/{escaped(row['cell'])}"
        put(f"{where}/candidate", row["candidate"])
        put_with_ends(f"{where}/drop", row, "drop", "low", "high")
        put_with_ends(f"{where}/extra_drop", row, "excess_drop", "excess_low", "excess_high")
    for row in rows("calibration"):
        where = f"{escaped(row['attribute'])}/{escaped(row['cell'])}/"
        put_roles(f"{'' if row['attribute'] == 'all' else where}overconfidence", row)
    for row in rows("overall"):
        put("churn", row["churn"])
        put("kappa", row["kappa"])
    values = {**named, **_of_basis(audit)}
    finite = {name: value is not None and math.isfinite(value) for name, value in values.items()}
    return {name: float(v or 0) if finite[name] else math.nan for name, v in values.items()}


def _of_cells(cells: list[dict[str, Any]], audit: Document) -> dict[str, float | None]:
    """What the cells of one attribute, or all, have together; undefined where none was tested."""
    tested = [row for row in cells if row["finding"] not in UNTESTED]
    named: dict[str, float | None] = {}
    for name, keys in WORST.items():
        for key, bound in zip(keys, ("", ".upper"), strict=True):
            values = [row[key] for row in tested]
            named[name + bound] = None if None in values else max(values, default=None)
    behind = sum(row["finding"] == LOST_MORE for row in tested)
    named["behind"] = behind if tested else None
    names = audit["attributes"]
    # those of unknown groups are counted by their examples
    known = [row for row in cells if row["cell"] in names.get(row["attribute"], [row["cell"]])]
    untested = sum(row["finding"] in UNTESTED for row in known)
    named["untested"] = untested if known else None
    named["untested.share"] = untested / len(known) if known else None
    return named


def _of_basis(audit: Document) -> dict[str, float]:
    """What was not seen of the test set, and whether the reference is better than chance."""
    basis, n = audit["basis"], audit["n"]
    counts = {f"{escaped(k)}/unknown": v for k, v in basis["unknown_by"].items()}
    named: dict[str, float] = {"at_chance": float(not basis["chance_p"] <= LEVEL)}
    for name, count in {"unknown": basis["unknown"], **counts}.items():
        named |= {name: count, f"{name}.share": count / n}
    unmatched = basis["unmatched"]
    return {**named, "unmatched": unmatched, "unmatched.share": unmatched / (unmatched + n)}


def _range(finding: str) -> tuple[float, float]:
    """Between which numbers the values of a finding lie."""
    parts = _PARTS.fullmatch(finding)
    name, _, role = (parts[1] if parts else finding).partition(".")
    if role == "share" or name in ("churn", "candidate", "at_chance"):
        return 0, 1
    if name in COUNTS:
        return 0, math.inf
    units = [some[name].unit for some in (METRICS, DEGRADATIONS, CALIBRATIONS) if name in some]
    if name in SIGNED or (units and units[0] is not RATIO):
        return (0 if PERCENT in units and not role.startswith("change") else -1), 1
    return -math.inf, math.inf


def _default_rules(audit: Document, rules: list[PolicyRule], candidate: str) -> list[PolicyRule]:
    """What has to hold of a candidate unless the policy bounds it."""
    bounded = {
        rule.finding.removesuffix(".share")
        for rule in rules
        if rule.operator in ("<=", "<") and rule.candidate in (None, candidate)
    }
    limits = dict.fromkeys(DEFAULTS, 0) | {"unmatched": audit["basis"]["allowed"]}
    return [
        PolicyRule(f"{name} <= {limit}", name, "<=", limit, candidate, None, "", 0)
        for name, limit in limits.items()
        if name not in bounded
    ]


def judge(audit: Document, rules: list[PolicyRule], today: datetime.date) -> list[Judgement]:
    """Hold an audit against a policy, and against `DEFAULTS` where it has no rule on them.

    Of the latter only those that are broken are returned. A finding that is undefined breaks its
    rule. `InputError` for a rule on a finding or candidate that the audit does not have, or with a
    limit that the finding cannot reach.
    """
    verdicts = []
    named = {name: facts(audit, name) for name in audit["candidates"]}
    default = [rule for name in named for rule in _default_rules(audit, rules, name)]
    for rule in [*rules, *default]:
        if rule.candidate is not None and rule.candidate not in named:
            raise InputError(
                f"policy line {rule.line}: no candidate '{rule.candidate}'"
                f"{nearest(rule.candidate, named)}; candidates: {', '.join(named)}"
            )
        for candidate in audit["candidates"] if rule.candidate is None else [rule.candidate]:
            value = _value(rule, named[candidate])
            kept = not math.isnan(value) and OPERATORS[rule.operator](value, rule.limit)
            exempt = rule.until is not None and today <= rule.until
            status = "kept" if kept else "exempt" if exempt else "broken"
            verdicts.append(Judgement(rule, candidate, value, status))
    return [verdict for verdict in verdicts if verdict.rule.line or verdict.status == "broken"]


def _value(rule: PolicyRule, values: Mapping[str, float]) -> float:
    if rule.finding not in values:
        raise InputError(
            f"policy line {rule.line}: unknown finding '{rule.finding}'"
            f"{nearest(rule.finding, values)}; see 'fairsparse gate --findings AUDIT'"
        )
    low, high = _range(rule.finding)
    if not low <= rule.limit <= high:
        raise InputError(
            f"policy line {rule.line}: '{rule.text}': this finding is between {low:g} and {high:g};"
            " shares are fractions, so that 0.02 is 2 % or two points"
        )
    return values[rule.finding]
