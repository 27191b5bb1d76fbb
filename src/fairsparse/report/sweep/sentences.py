"""What many runs show, in sentences that claim no more than that."""

from __future__ import annotations

from collections.abc import Sequence

from fairsparse.fairness.measure.metrics import METRICS
from fairsparse.record import Record
from fairsparse.report import phrases
from fairsparse.report.phrases import SPACE, between, percent
from fairsparse.report.sweep.sweep import Row, Sweep, paired

_MEANS = (
    "Below each mean: its 95 % t-interval over seeds, “-” for a single seed. With few seeds it is"
    " wide and can leave the range of possible values. It says how much training varies, not how"
    " well this test set stands for others; single reports have intervals over examples."
)


def main_metrics(record: Record) -> list[str]:
    """The metrics of the main table, the notion's own gap among them."""
    ordered = phrases.ordered(record.audit.metrics)
    listed = [metric for metric in ordered if "sweep" in phrases.about(metric).listed]
    return list(dict.fromkeys([*listed, phrases.notion(record).gap]))


def note(records: Sequence[Record]) -> str:
    """What means over seeds are, how many examples groups have, and what is undefined."""
    sizes: dict[str, set[int]] = {}
    for record in records:
        for cell in record.audit.cells:
            if cell["kind"] == "group":
                sizes.setdefault(cell["name"], set()).add(cell["n"])
    groups = ", ".join(f"{name} n{SPACE}={SPACE}{phrases.size(n)}" for name, n in sizes.items())
    texts = [_MEANS, f"Groups: {groups}."] if groups else [_MEANS]
    for metric in main_metrics(records[0]):
        undefined = [r.audit.candidate["undefined"].get(metric, []) for r in records]
        names = list(dict.fromkeys(name for run in undefined for name in run))
        if names:
            texts.append(f"{phrases.label(metric)} is {phrases.lacking(names)}.")
    return " ".join(texts)


def paragraphs(sweep: Sweep, record: Record) -> list[str]:
    """Plain words about many runs, a few short paragraphs."""
    model, data = phrases.model_name(record), record.data.name
    gap = phrases.notion(record).gap
    text = (
        f"{phrases.plural(len(sweep.labels), 'method')} at"
        f" {phrases.plural(len(sweep.sparsities), 'sparsity level')}, with"
        f" {phrases.plural(len(sweep.dense), 'seed')}, on {model} trained on {data}."
        f" What is to be equal: {phrases.equality(record)}."
    )
    if not sweep.rows:
        return [text]
    highest, form = sweep.sparsities[-1], phrases.value_form(gap)
    rows = sweep.at(highest)
    values = "; ".join(
        f"{name} {percent(accuracy.value)} and {form(value.value)}"
        for name, accuracy, value in [
            ("dense", sweep.dense_mean("accuracy"), sweep.dense_mean(gap)),
            *((row.label, row.mean("accuracy"), row.mean(gap)) for row in rows),
        ]
    )
    means = (
        f"At {phrases.sparsity(highest)} sparsity, mean accuracy and mean {phrases.label(gap)} are:"
        f" {values}. {_best(rows, gap)}"
    )
    return [text, means.strip()]


def _best(rows: list[Row], gap: str) -> str:
    sign = -1 if METRICS[gap].better == "higher" else 1
    some = [row for row in rows if phrases.defined(row.mean(gap).value)]
    if len(some) < 2:
        return ""
    first, second, *_ = sorted(some, key=lambda row: sign * row.mean(gap).value)
    difference, form = paired(first, second, gap), phrases.change_form(gap)
    text = (
        f"The {'highest' if sign < 0 else 'smallest'} {phrases.label(gap)} is that of"
        f" {first.label}; the next is {second.label}"
    )
    if difference.n < 2:
        return f"{text}. They have too few seeds in common for an interval: it may be chance."
    low, high = difference.low, difference.high
    return (
        f"{text}, and {first.label} differs from it by {form(difference.value)} (95{SPACE}%"
        f" interval over {difference.n} seeds {between(low, high, form)})."
        f" {phrases.doubt(low, high, 'which of the two is less unequal')}"
    )
