"""The tables that studies and searches end with, as wide as the terminal allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from fairsparse.record import Record
from fairsparse.report import caution, phrases
from fairsparse.report.phrases import UNDEFINED, Number, defined, fraction, percent, points
from fairsparse.report.sweep.sweep import DENSE, Mean, gather


def results(records: Sequence[Record], console: Console) -> Table:
    """One row for the dense network and for each method at each sparsity, on the test split.

    Values are means over seeds with the half-width of their 95 % t-interval, or its ends where it
    would leave what is possible; for one seed, of one network each with its 95 % interval over test
    examples. Below the table stands what forbids a verdict. Intervals go beside the value, under
    it, or are left to the report: whatever is the first to fit `console`.
    """
    unbounded = console.options.update(max_width=1000)
    for gap in (" ", "\n"):
        table = _table(records, gap)
        if Measurement.get(console, unbounded, table).maximum <= console.width:
            return table
    return _table(records, None)


def _table(records: Sequence[Record], gap: str | None) -> Table:
    sweep = gather(records)
    seeds = sorted(sweep.dense)
    about = (
        f"mean over {len(seeds)} seeds ± half of its 95 % t-interval"
        if len(seeds) > 1
        else f"seed {seeds[0]}, one network each, 95 % interval over examples"
    )
    hidden = "; intervals are in the report" if gap is None else ""
    table = _titled(f"Test split: {about}{hidden}")
    metrics = map(phrases.about, phrases.ordered(list(records[0].audit.metrics)))
    columns = [metric for metric in metrics if metric.column]
    table.add_column("method", no_wrap=True)
    table.add_column("sparsity\n%", justify="right", no_wrap=True)
    for column in columns:
        table.add_column(column.column, justify="right", no_wrap=True)

    def texts(mean: Callable[[str], Mean], record: Mapping[str, Any], model: str) -> Iterator[str]:
        metrics = record["audit"]["metrics"]
        for c in columns:
            one = mean(c.name).within(c.unit) if len(seeds) > 1 else None
            yield _text(one._asdict() if one else metrics[c.name][model], c.unit.narrow, gap)

    table.add_row(DENSE, "0", *texts(sweep.dense_mean, records[0], "reference"))
    for row in sweep.rows:
        run = next(iter(row.runs.values()))
        table.add_row(row.label, f"{100 * row.sparsity:.5g}", *texts(row.mean, run, "candidate"))
    against = {
        f"{row.label} at {phrases.sparsity(row.sparsity)}": clause
        for row in sweep.rows
        if (clause := caution.of_row(row))
    }
    told = [f"No verdict on {name}: {clause}." for name, clause in against.items()]
    table.caption, table.caption_justify = Text("\n".join(told)) if told else None, "left"
    return table


def _titled(title: str) -> Table:
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, collapse_padding=True)


def _text(estimate: Mapping[str, Any], scale: float, gap: str | None) -> str:
    value, low, high = (estimate[key] for key in ("value", "low", "high"))
    if not defined(value):
        return UNDEFINED
    text = f"{value * scale:.1f}"
    if gap is None or not (defined(low) and defined(high)):
        return text
    even = abs(high - value - (value - low)) < 1e-9
    if "n" in estimate and even:
        return f"{text}{gap}[dim]± {(high - low) / 2 * scale:.1f}[/dim]"
    return f"{text}{gap}[dim]\\[{low * scale:.1f}, {high * scale:.1f}][/dim]"


def candidates(state: Mapping[str, Any]) -> Table:
    """What a search looked at on validation, by sparsity, below the dense network."""
    tried = sorted(state["candidates"], key=lambda c: c["sparsity"])
    measure = state["search"]["budget"]["measure"]
    table = _titled("Validation split: upper bounds are one-sided, 95 %")
    for title in ("sparsity", "accuracy", measure, "upper bound"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("within", no_wrap=True)
    table.add_row(phrases.sparsity(0), percent(tried[0]["dense_accuracy"], 1), "", "", "dense")
    for c in tried:
        why = "" if c["status"] == "feasible" else f", {c['status']}"
        table.add_row(
            phrases.sparsity(c["sparsity"]),
            percent(c["accuracy"], 1),
            *(_amount(c[key], measure) for key in ("value", "bound")),
            ("yes" if c["within"] else "no") + why,
        )
    return table


def verdict(state: Mapping[str, Any]) -> list[str]:
    """Sentences on what a search found, how sure that is, and what the test split says."""
    tried, chosen, test = (state[key] for key in ("candidates", "chosen", "confirmation"))
    measure, limit = (state["search"]["budget"][key] for key in ("measure", "limit"))
    budget = f"the budget ({measure} at most {_amount(limit, measure)})"
    if chosen is None:
        lowest = tried[0]
        why = f"its upper bound is {_amount(lowest['bound'], measure)}"
        if not defined(lowest["bound"]):
            why += ", for cells have too few examples there"
        if lowest["status"] != "feasible":
            why += f", and the method calls its network {lowest['status']}"
        return [
            f"Even the lowest sparsity, {phrases.sparsity(lowest['sparsity'])}, is not within"
            f" {budget} on validation: {why}. Nothing was chosen, and nothing was tested. Give a"
            " lower --low, a larger limit, or more validation examples."
        ]
    above = [c["sparsity"] for c in tried if c["sparsity"] > chosen]
    then = (
        f"the next, {phrases.sparsity(min(above))}, is not" if above else "no higher one was tried"
    )
    confirmed = (
        "This confirms it."
        if test["within"]
        else "This does not confirm it: the upper bound is not within the limit."
    )
    return [
        f"The largest sparsity found within {budget} is {phrases.sparsity(chosen)}; {then}.",
        f"The search looked at {phrases.plural(len(tried), 'candidate')} and chose by what it saw"
        " on validation, so the bound found there is optimistic. The test figure is the"
        " confirmation.",
        f"On the test split, used for this network alone: accuracy {percent(test['accuracy'], 1)}"
        f" (dense {percent(test['dense_accuracy'], 1)}), {measure}"
        f" {_amount(test['value'], measure)}, upper bound {_amount(test['bound'], measure)}."
        f" {confirmed}",
    ]


def _amount(value: Number, measure: str) -> str:
    return fraction(value) if measure == "variance" else points(value)
