"""The tables of a run's report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from fairsparse.record import AuditPart, Record
from fairsparse.report import caution, phrases, table
from fairsparse.report.audit.page import measure
from fairsparse.report.phrases import Number, number, percent
from fairsparse.report.table import Column, Entry, Table

MODELS = ("dense", "sparse")


def measures(record: Record) -> Table:
    """Every measure of both networks with intervals, the change, and what it tells."""
    audit, grouped = record.audit, len(record.data.group_names) >= 2
    rows: list[list[Entry]] = []
    for metric in phrases.ordered(audit.metrics):
        if grouped or phrases.about(metric).told_of(groups=False):
            estimates = audit.metrics[metric]
            row = measure(metric, estimates, _undefined(metric, audit.candidate["undefined"]))
            rows.append([*row, reading(record, metric)])
    head = ["measure", *MODELS, "change", "adjusted p", "reading"]
    caption = f"Dense and sparse network on {audit.n:,} test examples, with 95 % intervals"
    if unknown := audit.candidate["n_unknown"]:
        caption += f"; the group of {unknown:,} of them is unknown, and they count in no group"
    return Table(caption, head, rows, text=(5,))


SMALLER = "smaller, no verdict"
"""Of a gap, where something stands against taking it for a gain."""


def reading(record: Record, metric: str) -> str:
    """What the change of a metric tells; a smaller gap is a gain only where nobody paid for it."""
    text = phrases.reading(metric, record.audit.metrics[metric]["change"])
    return SMALLER if text == "less unequal" and caution.of_run(record) else text


def _about_drops(audit: AuditPart, metric: str) -> str:
    made = phrases.made_by(audit.degradation_ends.get(metric))
    about = phrases.about(metric).summary + f" It is {made}." * bool(made)
    return about + _undefined(metric, audit.undefined)


def _undefined(metric: str, undefined: dict[str, list[str]]) -> str:
    return f" It is {phrases.lacking(undefined[metric])}." if metric in undefined else ""


def degradation(record: Record) -> Table | None:
    """How unequally the drop in accuracy falls on the cells."""
    if phrases.is_dense(record):
        return None
    audit = record.audit
    rows: list[list[Entry]] = [
        [
            (phrases.label(m), _about_drops(audit, m)),
            table.estimate(audit.degradation[m], phrases.value_form(m)),
        ]
        for m in phrases.ordered(audit.degradation)
    ]
    rows.append([("churn", "Share of the predictions that differ."), percent(audit.churn)])
    caption = "How unequally the drop in accuracy falls, with 95 % intervals"
    return Table(caption, ["measure", "value"], rows)


def control_metrics(record: Record) -> list[str]:
    """The measures that tables of controls show: accuracy, the notion's gap, and common gaps."""
    ordered = phrases.ordered(record.audit.metrics)
    common = [metric for metric in ordered if "controls" in phrases.about(metric).listed]
    return list(dict.fromkeys(["accuracy", phrases.notion(record).gap, *common]))


def control_name(network: str, control: str, about: Mapping[str, Any]) -> Entry:
    """The name of a corrected network's row, with what the correction needs below it."""
    grouped = about["needs_group_at_inference"]
    needs = "needs the group of each example at inference" if grouped else "free at inference"
    return f"{network} with {control}", f"{about['about'].partition(',')[0]}: {needs}"


def controls(record: Record) -> Table | None:
    """Both networks as they are and after each correction, on the test split."""
    controls: Mapping[str, Mapping[str, Any]] = record.controls
    if not controls:
        return None
    metrics = control_metrics(record)
    rows: list[list[Entry]] = []

    def add(name: Entry, changes: Mapping[str, Mapping[str, Any]], role: str) -> None:
        values = (table.estimate(changes[m][role], phrases.value_form(m)) for m in metrics)
        rows.append([name, *values])

    roles = [("dense", "reference"), ("sparse", "candidate")]
    for network, role in roles[:1] if phrases.is_dense(record) else roles:
        add(network, record.audit.metrics, role)
        for control, about in controls.items():
            add(control_name(network, control, about), about[network]["metrics"], "candidate")
    caption = "Corrections after training, fitted on held-out examples, with 95 % intervals"
    return Table(caption, ["network", *map(phrases.label, metrics)], rows)


def layers(record: Record) -> Table:
    """What is left of each layer."""
    size = record.sparsity
    caption = (
        f"Prunable weights by layer: {size.kept:,} of {size.total:,} are left;"
        f" the model has {record.model.parameters:,} parameters in all"
    )
    columns = [
        Column("layer", lambda layer: layer["name"]),
        Column("shape", lambda layer: " x ".join(map(str, layer["shape"])), text=True),
        Column("weights", lambda layer: f"{layer['total']:,}"),
        Column("left", lambda layer: f"{layer['kept']:,}"),
        Column("sparsity", lambda layer: phrases.sparsity(1 - layer["kept"] / layer["total"])),
    ]
    return table.of(caption, record.model.layers, columns, table.FOLD)


def rounds(record: Record) -> Table:
    """What the method logged in each pruning round; nested entries are left out."""
    rounds = record.rounds
    keys = [k for k in dict.fromkeys(key for entry in rounds for key in entry) if k != "sparsity"]
    flat = [k for k in keys if not any(isinstance(e.get(k), (dict, list)) for e in rounds)]
    rows = [
        [
            phrases.sparsity(entry["sparsity"]) if "sparsity" in entry else f"round {i}",
            *(_plain(entry.get(key), key) for key in flat),
        ]
        for i, entry in enumerate(rounds, 1)
    ]
    caption = f"What the method logged in {phrases.plural(len(rounds), 'pruning round')}"
    return Table(caption, ["sparsity", *(k.replace("_", " ") for k in flat)], rows, most_open=0)


def _plain(value: Any, key: str) -> str:
    if value is None:
        return phrases.DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    for ending, form in (("accuracy", percent), ("drop", phrases.points)):
        if isinstance(value, float) and key.endswith(ending):
            return form(value)
    return number(value, ".5g") if isinstance(value, float) else str(value)


def stages(record: Record) -> Table:
    """The last epoch of every stage of training."""
    epochs = Counter(epoch["stage"] for epoch in record.history)
    last = {epoch["stage"]: epoch for epoch in record.history}
    times = {stage: number(seconds, ".1f", "s") for stage, seconds in record.timings.items()}
    columns = [
        Column("stage", lambda epoch: epoch["stage"]),
        Column("epochs", lambda epoch: str(epochs[epoch["stage"]])),
        Column("loss", lambda epoch: number(epoch["loss"], ".4f")),
        Column("accuracy", lambda epoch: percent(epoch["accuracy"])),
        Column("worst cell", lambda epoch: (percent(epoch["worst"]), epoch["worst_cell"])),
        Column("time", lambda epoch: times.get(epoch["stage"], phrases.DASH)),
    ]
    caption = f"The last epoch of {phrases.plural(len(last), 'training stage')}"
    return table.of(caption, last.values(), columns, most_open=8)


def cost(record: Record) -> Table:
    """Steps, seconds and memory, and how many dense trainings they equal; the audit apart."""
    steps, dense_steps = record.cost.steps, record.cost.dense_steps
    seconds, dense = record.seconds, record.timings.get("dense")
    most, before = max(record.memory.values(), default=None), record.memory.get("dense")
    rows: list[list[Entry]] = [
        ["training steps", f"{dense_steps:,}", f"{steps:,}", ratio(steps, dense_steps)],
        ["seconds", _known(dense, ",.1f"), number(seconds, ",.1f"), ratio(seconds, dense)],
        ["peak memory, GiB", _known(before, ".2f"), _known(most, ".2f"), ratio(most, before)],
        ["seconds of the audit", *[phrases.DASH] * 3],
    ]
    rows[-1][2] = _known(record.timings.get("audit"), ",.1f")
    caption = (
        "All stages of training and pruning, the dense training included, against the dense"
        " training alone; a stage that runs share counts in each of them as it was made once"
    )
    return Table(caption, ["", "dense training", "all stages", "ratio"], rows)


def _known(value: Number, spec: str) -> str:
    return phrases.DASH if value is None else number(value, spec)


def ratio(value: Number, base: Number) -> str:
    """How many times `base` a value is; a dash where there is nothing to compare with."""
    return number(value / base, ".2f", "x") if value is not None and base else phrases.DASH


def validation(record: Record) -> Table:
    """What the method could see while it chose."""
    networks = [record.validation[network] for network in MODELS]
    rows = [
        ["validation accuracy", *(percent(n["accuracy"]) for n in networks)],
        ["variance over cells", *(phrases.fraction(n["variance"]) for n in networks)],
        ["range over cells", *(percent(n["range"]) for n in networks)],
    ]
    caption = "On the validation split, from which the method chose: no unbiased measure"
    return Table(caption, ["", *MODELS], rows)


def run_facts(record: Record, several: bool = False) -> Table:
    """Data, fingerprint, method and environment; of several runs, what they share."""
    data, method = record.data, record.method
    rows = [
        ("data", f"{data.name}, fingerprint {data.fingerprint}"),
        ("examples", ", ".join(f"{name} {n:,}" for name, n in data.sizes.items())),
        ("classes", table.counted(data.class_names)),
    ]
    if data.group_names:
        by = f" by {', '.join(data.attributes)}" if data.attributes else ""
        rows.append((f"groups{by}", table.counted(data.group_names)))
    if not several:
        rows += [("method", f"{method.name}: {method.summary}"), ("reference", method.reference)]
        rows.append(("seed", str(record.seed)))
    rows += [(name, str(value)) for name, value in record.environment.items()]
    return table.facts(rows)
