"""The paragraphs at the top of a run's report: what was done, what it cost, and to whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fairsparse.fairness.steering.budget import MEASURES, Budget
from fairsparse.record import Record
from fairsparse.report import phrases
from fairsparse.report.audit.sentences import behind
from fairsparse.report.phrases import SPACE, bounded, percent, points, signed


def run_paragraphs(record: Record) -> list[str]:
    """Plain words about one run, a few short paragraphs."""
    if phrases.is_dense(record):
        paragraphs = [_dense(record), _gap(record), given_up(record)]
    else:
        paragraphs = [_done(record), behind(phrases.cells_of(record)), _gap(record)]
        paragraphs += [given_up(record), tolerance(record), budget(record)]
    return [paragraph.strip() for paragraph in paragraphs if paragraph]


def _done(record: Record) -> str:
    """What was removed, and what that cost."""
    size, name, accuracy = record.sparsity, record.method.name, record.audit.metrics["accuracy"]
    reached = f"{phrases.sparsity(size.measured)} of the prunable weights of"
    text = (
        f"The method {name} removed {reached} {phrases.model_name(record)}, trained on"
        f" {record.data.name}: {size.kept:,} of {size.total:,} are left."
    )
    if round(size.asked * size.total) != size.total - size.kept:
        text += f" Asked for were {phrases.sparsity(size.asked)}."
    change = accuracy["change"]
    return (
        f"{text} On the {record.audit.n:,} test examples accuracy was"
        f" {percent(accuracy['reference']['value'])} before and is"
        f" {percent(accuracy['candidate']['value'])} after, a change of {bounded(change, signed)}."
        f" {phrases.doubt(change['low'], change['high'], 'whether accuracy changed')}"
    )


def _dense(record: Record) -> str:
    cells = [c for c in phrases.cells_of(record) if phrases.defined(c["candidate"])]
    text = (
        f"This is the dense {phrases.model_name(record)} on {record.data.name}, with which"
        " sparse networks are compared; no weight was removed. On the"
        f" {record.audit.n:,} test examples its accuracy is"
        f" {bounded(record.audit.metrics['accuracy']['candidate'], percent)}."
    )
    if not cells:
        return text
    worst = min(cells, key=lambda c: c["candidate"])
    return (
        f"{text} The worst served {phrases.noun(worst['kind'])} is “{worst['name']}”, with an"
        f" accuracy of {percent(worst['candidate'])} (n{SPACE}={SPACE}{worst['n']:,})."
    )


_HARDLY = 0.1
"""A class is hardly predicted when it is for fewer than this share of those who belong to it."""

_VERDICTS = {
    "no change": "it did not change",
    "higher": "it rose",
    "lower": "it fell",
    "less unequal": "the sparse network is less unequal",
    "more unequal": "the sparse network is more unequal",
}


def _gap(record: Record) -> str:
    metric = phrases.notion(record).gap
    estimates: Mapping[str, Any] = record.audit.metrics[metric]
    before, after, change = (estimates[key] for key in ("reference", "candidate", "change"))
    form, shift = phrases.value_form(metric), phrases.change_form(metric)
    meaning = phrases.about(metric).summary.rstrip(".")
    name = f"{phrases.label(metric)} ({meaning[0].lower()}{meaning[1:]})"
    name = name[0].upper() + name[1:]
    if not phrases.defined(change["value"]):
        names = record.audit.candidate["undefined"].get(metric, [])
        return f"{name} is {phrases.lacking(names)}."
    now = f"{name} is {bounded(after, form)}"
    outside = after["high"] is not None and after["value"] > after["high"]
    note = " It lies above its interval, which leaves out what sampling alone adds." * outside
    if phrases.is_dense(record):
        return f"{now}.{note}"
    verdict = _VERDICTS.get(
        phrases.reading(metric, change), "the data do not tell whether it changed"
    )
    return (
        f"{now} and was {form(before['value'])} in the dense network, a change of"
        f" {bounded(change, shift)}: {verdict}.{note}"
    )


def given_up(record: Record) -> str:
    """Which classes are hardly predicted any more, which makes gaps small; empty where none is."""
    dense, sparse = (np.array(record.counts[role]).sum(0) for role in ("dense", "sparse"))
    true, now, before = sparse.sum(1), sparse.sum(0), dense.sum(0)  # (C,)
    lost = [c for c in range(len(true)) if now[c] < _HARDLY * true[c]]
    if not lost:
        return ""
    c = min(lost, key=lambda i: now[i] / true[i])
    text = (
        f"The class “{record.data.class_names[c]}” is hardly predicted: for {now[c]:,} of"
        f" {true.sum():,} test examples, of which {true[c]:,} belong to it"
    )
    if not phrases.is_dense(record):
        text += f"; the dense network predicted it for {before[c]:,}"
    if len(lost) > 1:
        text += f". The same holds for {phrases.plural(len(lost) - 1, 'other class')}"
    return (
        f"{text}. Where hardly anybody is given a class, gaps in its rates vanish without anybody"
        " being served better."
    )


def tolerance(record: Record) -> str:
    """Whether the accuracy a method promised to keep on validation was kept."""
    dense, sparse = (record.validation[role]["accuracy"] for role in ("dense", "sparse"))
    allowed = record.method.options.get("tolerance")
    seen = f"on validation, accuracy went from {percent(dense)} to {percent(sparse)}"
    if record.status == "collapsed":
        return f"The network collapsed: {seen}."
    if allowed is None:
        return f"The method promises no limit on the loss of accuracy; {seen}."
    met = "was not met" if record.status == "eps_infeasible" else "was met"
    return f"The tolerance, a loss of at most {points(allowed)}, {met}: {seen}."


def budget(record: Record) -> str:
    """Whether the network kept a fairness budget on validation; empty where there was none."""
    limit: dict[str, Any] = record.method.options.get("budget") or {}
    reached = record.sparsity.measured
    last = next((r for r in record.rounds if limit and r["sparsity"] == reached), None)
    if last is None:
        return ""
    name = (MEASURES[limit["measure"]].__doc__ or "").rstrip(".").partition(",")[0]
    form = phrases.fraction if limit["measure"] == "variance" else points
    met = "was met" if Budget(**limit).keeps(last["gap"]) else "was not met"
    return (
        f"The fairness budget {met}: on validation, the {name[0].lower()}{name[1:]} is"
        f" {form(last['gap'])}, and at most {form(last['gap_limit'])} were allowed."
    )
