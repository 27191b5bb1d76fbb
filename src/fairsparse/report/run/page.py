"""The report of one run: what was done, what it cost, and to whom."""

from __future__ import annotations

from fairsparse.auditing.examples import Settings
from fairsparse.record import AuditPart, Record
from fairsparse.report import phrases, plots, table
from fairsparse.report.audit.page import contrast
from fairsparse.report.audit.sentences import how
from fairsparse.report.page import Block, Part, render, section, settings, words
from fairsparse.report.phrases import number, percent
from fairsparse.report.run import tables
from fairsparse.report.run.sentences import budget, run_paragraphs, tolerance
from fairsparse.report.run.tables import MODELS

_STATUS = {
    "feasible": "the sparsity was reached, and tolerance and budget kept where there are any",
    "eps_infeasible": "the accuracy tolerance was not met",
    "gap_infeasible": "the fairness budget was not met",
    "collapsed": "the network collapsed",
}


def run_report(record: Record) -> str:
    """Return the report of one run, from its record, as a self-contained HTML text."""
    reached = phrases.sparsity(record.sparsity.measured)
    method, data, status = record.method, record.data, record.status
    what = "dense" if phrases.is_dense(record) else f"{method.name}, {reached} sparse"
    outcome = f"{status}, {_STATUS.get(status, 'see the method')}"
    inequality = (
        f"What is to be equal: {phrases.equality(record)}.",
        tables.measures(record),
        tables.degradation(record),
        tables.controls(record),
    )
    return render(
        f"{phrases.model_name(record)} on {data.name}: {what}",
        f"{method.summary.rstrip('.')}. Seed {record.seed}.",
        section("", *words(run_paragraphs(record)), _tiles(record), _cell_plot(record)),
        *contrast(inequality, record.audit.cells, MODELS, "record.json"),
        section(
            "Where the weights went",
            _layer_plot(record),
            tables.layers(record),
            tables.rounds(record),
        ),
        section("Training", *_training(record)),
        section(
            "Cost and outcome",
            tables.cost(record),
            f"Status: {outcome}. {tolerance(record)} {budget(record)}",
            tables.validation(record),
        ),
        section("How this was found", *_method(record.audit)),
        section(
            "Data, settings, environment",
            data.notes,
            tables.run_facts(record),
            settings("Full configuration", record.config),
        ),
        version=record.fairsparse,
    )


def _method(audit: AuditPart) -> list[str]:
    asked = Settings(resamples=audit.resamples, seed=audit.seed)
    family = "The tests of this run are those of an audit of it."
    return how(audit.n, asked, ("the dense network", "the sparse network"), family)


def _tiles(record: Record) -> Block:
    metrics, size, cost = record.audit.metrics, record.sparsity, record.cost
    tiles = []
    for metric in dict.fromkeys(["accuracy", phrases.notion(record).gap]):
        if metric not in metrics:
            continue
        value, form = metrics[metric]["candidate"], phrases.value_form(metric)
        name, beside = phrases.label(metric), phrases.interval(value, form)
        if not phrases.is_dense(record):
            beside += f"; dense {form(metrics[metric]['reference']['value'])}"
        tiles.append((name[0].upper() + name[1:], form(value["value"]), beside))
    left = f"{size.kept:,} of {size.total:,} weights left"
    tiles.append(("Sparsity", phrases.sparsity(size.measured), left))
    steps = f"{cost.steps:,} steps in all, relative to dense training"
    tiles.append(("Training steps", tables.ratio(cost.steps, cost.dense_steps), steps))
    return Block("tiles", tiles)


def _cell_plot(record: Record) -> Part:
    every = phrases.cells_of(record)
    cells = [c for c in table.ranked(every, "drop", -1) if phrases.defined(c["drop"])]
    if phrases.is_dense(record) or not cells:
        return None
    noun, half = phrases.noun(cells[0]["kind"]), plots.MOST_CELLS // 2
    caption = f"Accuracy of each {noun} before and after, and its drop with the 95 % interval"
    if len(cells) > plots.MOST_CELLS:
        caption += (
            f"; of {phrases.plural(len(cells), noun)}, the {half} that lost most and the"
            f" {half} that gained most, or lost least"
        )
        cells = cells[:half] + cells[-half:]
    empty = [c["name"] for c in every if not phrases.defined(c["drop"])]
    if empty:
        caption += f"; without test examples: {phrases.listing(empty)}"
    return plots.cell_changes(cells, MODELS, caption)


def _layer_plot(record: Record) -> Part:
    layers = record.model.layers
    each = [1 - layer["kept"] / layer["total"] for layer in layers]
    caption = (
        f"Sparsity of each prunable layer, from {phrases.sparsity(min(each))} to"
        f" {phrases.sparsity(max(each))}; {phrases.sparsity(record.sparsity.measured)} in all"
    )
    return plots.layers(layers, caption, f"{phrases.plural(len(layers), 'layer')}.")


def _training(record: Record) -> list[Part]:
    history = record.history
    if not history:
        return ["No training was recorded."]
    last = history[-1]
    caption = (
        "Loss, accuracy and accuracy of the worst cell on the training batches; dotted lines part"
        " the stages"
    )
    more = (
        f"{phrases.plural(len(history), 'epoch')}; at the end, loss {number(last['loss'], '.3f')},"
        f" accuracy {percent(last['accuracy'], 1)}, worst cell {percent(last['worst'], 1)}."
    )
    return [plots.training(history, caption, more), tables.stages(record)]
