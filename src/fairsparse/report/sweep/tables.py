"""The tables and sentences of a report that compares many runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import yaml

from fairsparse.fairness.measure.metrics import METRICS
from fairsparse.report import phrases
from fairsparse.report.phrases import SPACE, Record, between, percent
from fairsparse.report.run.tables import FOLD, Entry, Table
from fairsparse.report.sweep.sweep import Mean, Row, Sweep, cell_table, flat, paired


def run_name(record: Record) -> str:
    """The name under which a run is linked: its ``run``, or method, sparsity and seed."""
    made = f"{record['method']['name']}-{record['sparsity']['asked']:g}-seed{record['seed']}"
    return str(record.get("run", made))


def mean_entry(mean: Mean, metric: str) -> Entry:
    """A mean with its interval below it."""
    form = phrases.value_form(metric)
    if not phrases.defined(mean.value):
        return phrases.UNDEFINED
    return form(mean.value), between(mean.low, mean.high, form) if mean.n > 1 else "-"


def shown_metrics(record: Record) -> list[str]:
    """The metrics of the main table, the notion's own gap among them."""
    known = phrases.ordered(record["audit"]["metrics"])
    listed = [metric for metric in known if "sweep" in phrases.about(metric).listed]
    return list(dict.fromkeys([*listed, phrases.notion(record).gap]))


def means(sweep: Sweep, records: Sequence[Record]) -> Table:
    """Method x sparsity: means over seeds with t-intervals, dense first."""
    metrics = shown_metrics(records[0])
    seeds = len(sweep.dense)
    rows: list[list[Entry]] = [
        ["dense", "0" + SPACE + "%", str(seeds), "–"]
        + [mean_entry(sweep.dense_mean(metric), metric) for metric in metrics]
    ]
    for row in sweep.rows:
        kept = sum(run["status"] == "feasible" for run in row.runs.values())
        rows.append(
            [
                row.label,
                sparsity_entry(row),
                str(len(row.runs)),
                f"{kept} of {len(row.runs)}",
                *(mean_entry(row.mean(metric), metric) for metric in metrics),
            ]
        )
    head = ["method", "sparsity", "seeds", "feasible", *(phrases.label(m) for m in metrics)]
    n = phrases.size(run["audit"]["n"] for run in records)
    return Table(f"On the test split ({n} examples): mean over seeds", head, rows)


def degradation(sweep: Sweep, record: Record) -> Table:
    """Method x sparsity: how unequally the drop in accuracy falls, means over seeds."""
    metrics = phrases.ordered(record["audit"]["degradation"])
    rows: list[list[Entry]] = [
        [row.label, sparsity_entry(row), *(mean_entry(row.mean(m), m) for m in metrics)]
        for row in sweep.rows
    ]
    title = "How unequally the drop in accuracy falls: mean over seeds"
    head = ["method", "sparsity", *(phrases.label(m) for m in metrics)]
    return Table(title, head, rows, folded=title)


def sparsity_entry(row: Row) -> Entry:
    """The sparsity asked for, and what was reached where it differs."""
    reached = {run["sparsity"]["measured"] for run in row.runs.values()}
    asked = phrases.sparsity(row.sparsity)
    if all(abs(value - row.sparsity) < 5e-4 for value in reached):
        return asked
    return asked, "reached " + ", ".join(phrases.sparsity(v) for v in sorted(reached))


def variants(sweep: Sweep) -> Table:
    """The options in which the numbered variants of a method differ."""
    rows: list[list[Entry]] = []
    flats = {label: flat(options) for label, options in sweep.options.items()}
    methods = {row.label: next(iter(row.runs.values()))["method"]["name"] for row in sweep.rows}
    for label, mine in flats.items():
        others = [flats[other] for other in flats if methods[other] == methods[label]]
        names = list(dict.fromkeys(name for other in others for name in other))
        differing = [n for n in names if any(o.get(n) != others[0].get(n) for o in others)]
        if differing:
            rows.append([label, ", ".join(f"{n} = {mine.get(n, '–')}" for n in differing)])
    return Table(
        "Options in which runs of one method differ", ["method", "options"], rows, text=(1,)
    )


def cells(sweep: Sweep, sparsity: float, record: Record) -> Table:
    """Accuracy of every cell at one sparsity, dense and every method."""
    chosen = sweep.at(sparsity)
    rows: list[list[Entry]] = []
    for cell in cell_table(chosen):
        values = [cell["dense"], *cell["rows"]]
        rows.append(
            [
                cell["name"],
                phrases.size(cell["sizes"]),
                *(mean_entry(mean, "accuracy") for mean in values),
            ]
        )
    kind = phrases.notion(record).audited_kind
    caption = f"Accuracy by {kind} at {phrases.sparsity(sparsity)} sparsity: mean over seeds"
    head = [kind, "n", "dense", *(row.label for row in chosen)]
    return Table(caption, head, rows, folded=caption if len(rows) > FOLD else "")


def cost(sweep: Sweep) -> Table:
    """Steps and seconds of whole runs, relative to the dense training in them."""
    rows: list[list[Entry]] = []
    for row in sweep.rows:
        runs = row.runs.values()
        steps = [r["cost"]["steps"] / r["cost"]["dense_steps"] for r in runs]
        dense = [r["timings"].get("dense") for r in runs]
        times = [r["timings"]["total"] / d if d else None for r, d in zip(runs, dense, strict=True)]
        seconds = Mean.of(r["timings"]["total"] for r in runs).value
        rows.append(
            [
                row.label,
                phrases.sparsity(row.sparsity),
                phrases.number(Mean.of(steps).value, ".2f", "x"),
                phrases.number(Mean.of(times).value, ".2f", "x"),
                phrases.number(seconds, ",.1f", "s"),
            ]
        )
    caption = (
        "Whole runs, dense training included, relative to the dense training; means over seeds"
    )
    return Table(caption, ["method", "sparsity", "steps", "time", "seconds"], rows)


def single_runs(records: Sequence[Record], links: Mapping[str, str]) -> Table:
    """Every run with accuracy, gap and the way to its own report."""
    gap = phrases.notion(records[0]).gap
    form = phrases.value_form(gap)
    rows: list[list[Entry]] = []
    for record in records:
        name, found = run_name(record), record["audit"]["metrics"]
        accuracy, value = found["accuracy"]["candidate"], found[gap]["candidate"]
        rows.append(
            [
                {"text": name, "href": links[name]} if name in links else name,
                phrases.sparsity(record["sparsity"]["measured"]),
                str(record["seed"]),
                record["status"],
                (percent(accuracy["value"]), between(accuracy["low"], accuracy["high"], percent)),
                (form(value["value"]), between(value["low"], value["high"], form)),
            ]
        )
    head = ["run", "sparsity", "seed", "status", "accuracy", phrases.label(gap)]
    caption = f"{phrases.plural(len(rows), 'run')}, with 95 % intervals over test examples"
    return Table(caption, head, rows, text=(3,), folded=caption if len(rows) > FOLD else "")


def notes(records: Sequence[Record]) -> str:
    """How many test examples each group has, and what leaves a measure of the table undefined."""
    found: dict[str, set[int]] = {}
    for record in records:
        for cell in record["audit"]["cells"]:
            if cell["kind"] == "group":
                found.setdefault(cell["name"], set()).add(cell["n"])
    named = ", ".join(f"{name} n{SPACE}={SPACE}{phrases.size(n)}" for name, n in found.items())
    text = f"Groups: {named}. " if named else ""
    for metric in shown_metrics(records[0]):
        undefined = [r["audit"]["candidate"]["undefined"].get(metric, []) for r in records]
        names = list(dict.fromkeys(name for run in undefined for name in run))
        if names:
            text += f"{phrases.label(metric)} is {phrases.lacking(names)}. "
    return text.strip()


def options(sweep: Sweep) -> list[tuple[str, str]]:
    """Every method's options as YAML."""
    return [
        (label, yaml.safe_dump(found, sort_keys=False, allow_unicode=True))
        for label, found in sweep.options.items()
    ]


def paragraphs(sweep: Sweep, record: Record) -> list[str]:
    """Plain words about many runs, a few short paragraphs."""
    model, data = phrases.model_name(record), record["data"]["name"]
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
    said = "; ".join(
        f"{name} {percent(accuracy.value)} and {form(value.value)}"
        for name, accuracy, value in [
            ("dense", sweep.dense_mean("accuracy"), sweep.dense_mean(gap)),
            *((row.label, row.mean("accuracy"), row.mean(gap)) for row in rows),
        ]
    )
    found = (
        f"At {phrases.sparsity(highest)} sparsity, mean accuracy and mean {phrases.label(gap)} are:"
        f" {said}. {_ranking(rows, gap)}"
    )
    return [text, found.strip()]


def _ranking(rows: list[Row], gap: str) -> str:
    sign = -1 if METRICS[gap].better == "higher" else 1
    known = [row for row in rows if phrases.defined(row.mean(gap).value)]
    if len(known) < 2:
        return ""
    first, second, *_ = sorted(known, key=lambda row: sign * row.mean(gap).value)
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
