"""The report that compares many runs, in sentences that claim no more than they show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fairsparse.fairness.measure.metrics import METRICS
from fairsparse.record import Record
from fairsparse.report import caution, phrases, table
from fairsparse.report.page import Section, note, render, section, settings, words
from fairsparse.report.phrases import SPACE, Number, between, number, percent
from fairsparse.report.run.tables import control_metrics, control_name, run_facts
from fairsparse.report.sweep import plots
from fairsparse.report.sweep.sweep import (
    DENSE,
    Mean,
    Row,
    Sweep,
    cell_means,
    flat,
    gather,
    paired,
)
from fairsparse.report.table import Cell, Column, Entry, Table

_METHOD = Column("method", lambda row: row.label)
_SPARSITY = Column("sparsity", lambda row: _sparsity(row))


def comparison_report(records: Sequence[Record], links: Mapping[str, str] | None = None) -> str:
    """Return the report that compares many runs, as a self-contained HTML text.

    `records` are of methods x sparsities x seeds. `links` says where the report of a run is, by
    the run's name: its record's ``run``, or else ``method-sparsity-seedN``.

    Raises
    ------
    InputError
        Without records, and for several data sets, models or notions of equality.
    """
    sweep, record = gather(records), records[0]
    compared = phrases.plural(len(sweep.labels), "method")
    return render(
        f"{phrases.model_name(record)} on {record.data.name}: {compared} compared",
        f"{phrases.plural(len(records), 'run')}: {phrases.listing(sweep.labels)}.",
        section(
            "",
            *words(paragraphs(sweep, record)),
            _means(sweep, records),
            note(_note(records)),
            _variants(sweep),
            _controls(sweep, record),
        ),
        *(_compared(sweep, record) if sweep.rows else []),
        section("Single runs", _single_runs(records, links or {})),
        section(
            "Data, settings, environment",
            record.data.notes,
            run_facts(record, several=True),
            settings("Settings that all runs share", shared([run.config for run in records])),
            *(settings(f"Options of {label}", some) for label, some in sweep.options.items()),
        ),
        version=record.fairsparse,
    )


def _compared(sweep: Sweep, record: Record) -> list[Section]:
    notion, highest = phrases.notion(record), sweep.sparsities[-1]
    rows, level = sweep.at(highest), phrases.sparsity(highest)
    means, labels = cell_means(rows), [row.label for row in rows]
    drops = phrases.ordered(record.audit.degradation)
    falls = "How unequally the drop in accuracy falls: mean over seeds"
    caption = f"Accuracy of each {notion.audited_kind} at {level} sparsity, mean over seeds"
    return [
        section(
            "Accuracy and gap",
            plots.trade_off(sweep, notion.gap),
            plots.against_sparsity(sweep, notion.gap),
            table.of(falls, sweep.rows, [_METHOD, _SPARSITY, *map(_mean_column, drops)], 0),
        ),
        section(
            f"Who is served how well at {level} sparsity",
            plots.cell_accuracies(sweep, labels, means, caption),
            _cells(notion.audited_kind, means, labels, level),
        ),
        section("Cost", _cost(sweep)),
    ]


def _mean(mean: Mean, metric: str) -> Entry:
    """A mean with its interval below it."""
    form = phrases.value_form(metric)
    mean = mean.within(phrases.about(metric).unit)
    if mean.n == 1 and phrases.defined(mean.value):
        return form(mean.value), "-"
    return table.estimate(mean._asdict(), form)


def _mean_column(metric: str) -> Column:
    return Column(phrases.label(metric), lambda row: _mean(row.mean(metric), metric))


def _sparsity(row: Row) -> Entry:
    """The sparsity asked for, and what was reached where it differs."""
    reached = {run.sparsity.measured for run in row.runs.values()}
    asked = phrases.sparsity(row.sparsity)
    if all(abs(value - row.sparsity) < 5e-4 for value in reached):
        return asked
    return asked, "reached " + ", ".join(phrases.sparsity(v) for v in sorted(reached))


def _means(sweep: Sweep, records: Sequence[Record]) -> Table:
    metrics = main_metrics(records[0])

    def feasible(row: Row) -> str:
        kept = sum(run.status == "feasible" for run in row.runs.values())
        return f"{kept} of {len(row.runs)}"

    columns = [
        _METHOD,
        _SPARSITY,
        Column("seeds", lambda row: str(len(row.runs))),
        Column("feasible", feasible),
        *map(_mean_column, metrics),
    ]
    n = phrases.size(run.audit.n for run in records)
    rows = table.of(f"On the test split ({n} examples): mean over seeds", sweep.rows, columns)
    means = [_mean(sweep.dense_mean(metric), metric) for metric in metrics]
    dense: list[Entry] = ["dense", phrases.sparsity(0), str(len(sweep.dense)), phrases.DASH, *means]
    return replace(rows, rows=[dense, *rows.rows])


def _controls(sweep: Sweep, record: Record) -> Table:
    metrics = control_metrics(record)
    rows: list[list[Entry]] = []
    networks: list[tuple[Row, str, str, Entry]]
    networks = [(row, "dense", DENSE, phrases.sparsity(0)) for row in sweep.rows[:1]]
    networks += [(row, "sparse", row.label, _sparsity(row)) for row in sweep.rows]
    for row, network, label, sparsity in networks:
        controls: Iterable[Mapping[str, Any]] = (run.controls for run in row.runs.values())
        runs = [some for some in controls if some]
        for control in runs[0] if runs else ():
            corrected = [run[control] for run in runs if control in run]
            means = [
                Mean.of(run[network]["metrics"][metric]["candidate"]["value"] for run in corrected)
                for metric in metrics
            ]
            name = control_name(label, control, corrected[0])
            rows.append([name, sparsity, str(len(corrected)), *map(_mean, means, metrics)])
    head = ["network", "sparsity", "seeds", *map(phrases.label, metrics)]
    return Table("Corrections after training, on the test split: mean over seeds", head, rows)


def _variants(sweep: Sweep) -> Table:
    """The options in which the numbered variants of a method differ."""
    rows: list[list[Entry]] = []
    flats = {label: flat(options) for label, options in sweep.options.items()}
    methods = {row.label: next(iter(row.runs.values())).method.name for row in sweep.rows}
    for label, mine in flats.items():
        others = [flats[other] for other in flats if methods[other] == methods[label]]
        names = list(dict.fromkeys(name for other in others for name in other))
        differing = [n for n in names if any(o.get(n) != others[0].get(n) for o in others)]
        if differing:
            rows.append([label, ", ".join(f"{n} = {mine.get(n, phrases.DASH)}" for n in differing)])
    caption = "Options in which runs of one method differ"
    return Table(caption, ["method", "options"], rows, text=(1,))


def shared(configs: Sequence[Any]) -> Any:
    """The part of nested settings that is the same in all of them.

    >>> shared([{"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}])
    {'a': 1, 'b': {}}
    """
    head = configs[0]
    if not all(isinstance(config, Mapping) for config in configs):
        return head
    common = [key for key in head if all(key in config for config in configs)]
    return {
        key: shared([config[key] for config in configs])
        for key in common
        if all(config[key] == head[key] or isinstance(config[key], Mapping) for config in configs)
    }


def _cells(kind: str, means: Sequence[Cell], labels: Sequence[str], level: str) -> Table:
    def accuracy(label: str) -> Column:
        return Column(label, lambda cell: _mean(cell["means"][label], "accuracy"))

    columns = [
        Column(kind, lambda cell: cell["name"]),
        Column("n", lambda cell: phrases.size(cell["sizes"])),
        *map(accuracy, (DENSE, *labels)),
    ]
    caption = f"Accuracy by {kind} at {level} sparsity: mean over seeds"
    return table.of(caption, means, columns, table.FOLD)


def _cost(sweep: Sweep) -> Table:
    def mean(value: Callable[[Record], Number], spec: str, unit: str) -> Callable[[Row], str]:
        return lambda row: number(Mean.of(map(value, row.runs.values())).value, spec, unit)

    def time(run: Record) -> Number:
        dense = run.timings.get("dense")
        return run.seconds / dense if dense else None

    columns = [
        _METHOD,
        Column("sparsity", lambda row: phrases.sparsity(row.sparsity)),
        Column("steps", mean(lambda run: run.cost.steps / run.cost.dense_steps, ".2f", "x")),
        Column("time", mean(time, ".2f", "x")),
        Column("seconds", mean(lambda run: run.seconds, ",.1f", "s")),
        Column("audit", mean(lambda run: run.timings.get("audit"), ",.1f", "s")),
        Column("memory", mean(lambda run: max(run.memory.values(), default=None), ".2f", "GiB")),
    ]
    caption = (
        "All stages, dense training included, relative to the dense training, whichever run made"
        " those that are shared; the audit apart; the most memory of a stage; means over seeds"
    )
    return table.of(caption, sweep.rows, columns)


def _single_runs(records: Sequence[Record], links: Mapping[str, str]) -> Table:
    def name(record: Record) -> Entry:
        run = phrases.run_name(record)
        return {"text": run, "href": links[run]} if run in links else run

    def of(metric: str) -> Callable[[Record], Entry]:
        form = phrases.value_form(metric)
        return lambda run: table.estimate(run.audit.metrics[metric]["candidate"], form)

    gap = phrases.notion(records[0]).gap
    columns = [
        Column("run", name),
        Column("sparsity", lambda run: phrases.sparsity(run.sparsity.measured)),
        Column("seed", lambda run: str(run.seed)),
        Column("status", lambda run: run.status, text=True),
        Column("accuracy", of("accuracy")),
        Column(phrases.label(gap), of(gap)),
    ]
    caption = f"{phrases.plural(len(records), 'run')}, with 95 % intervals over test examples"
    return table.of(caption, records, columns, table.FOLD)


_MEANS = (
    "Below each mean: its 95 % t-interval over seeds, “-” for a single seed. With few seeds it is"
    " wide, and cut off where no share can be. It says how much training varies, not how well this"
    " test set stands for others; single reports have intervals over examples. Sparsities and"
    " measures of one seed share its training and its examples: that several agree is no more"
    " evidence than one of them."
)


def main_metrics(record: Record) -> list[str]:
    """The metrics of the main table, the notion's own gap among them."""
    ordered = phrases.ordered(record.audit.metrics)
    listed = [metric for metric in ordered if "sweep" in phrases.about(metric).listed]
    return list(dict.fromkeys([*listed, phrases.notion(record).gap]))


def _note(records: Sequence[Record]) -> str:
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
        f" What is to be equal: {phrases.equality(record)}. {_scope(sweep)}"
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


def _scope(sweep: Sweep) -> str:
    """Of what means over seeds speak: of the networks, or of the methods that train them."""
    fewest = min([len(sweep.dense), *(len(row.runs) for row in sweep.rows)])
    if fewest < 2:
        return (
            "Where there is a single seed, a figure speaks of that network, not of the method:"
            " trained anew, it may differ."
        )
    return (
        "Over seeds, figures speak of the methods, trained anew, on this data set and its test"
        " split; of other data sets they say nothing."
    )


def _best(rows: list[Row], gap: str) -> str:
    sign = -1 if METRICS[gap].better == "higher" else 1
    against = {row.label: clause for row in rows if (clause := caution.of_row(row))}
    left_out = "; ".join(f"{label}, for {clause}" for label, clause in against.items())
    left_out = f" Not compared: {left_out}." * bool(against)
    fit = [row for row in rows if row.label not in against]
    some = [row for row in fit if phrases.defined(row.mean(gap).value)]
    if len(some) < 2:
        return left_out.strip()
    first, second, *_ = sorted(some, key=lambda row: sign * row.mean(gap).value)
    difference, form = paired(first, second, gap), phrases.change_form(gap)
    text = (
        f"The {'highest' if sign < 0 else 'smallest'} {phrases.label(gap)} is that of"
        f" {first.label}; the next is {second.label}"
    )
    if difference.n < 2:
        text += ". They have too few seeds in common for an interval: it may be chance."
        return text + left_out
    low, high = difference.low, difference.high
    return (
        f"{text}, and {first.label} differs from it by {form(difference.value)} (95{SPACE}%"
        f" interval over {difference.n} seeds {between(low, high, form)})."
        f" {phrases.doubt(low, high, 'which of the two is less unequal')}".rstrip()
        + left_out
    )
