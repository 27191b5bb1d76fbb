"""The report of one run: what was done, what it cost, and to whom."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fairsparse.auditing.examples import Settings
from fairsparse.record import Record
from fairsparse.report import phrases, plots, table
from fairsparse.report.audit.page import contrast
from fairsparse.report.audit.sentences import how
from fairsparse.report.page import Block, Part, render, section, settings, words
from fairsparse.report.phrases import number, percent
from fairsparse.report.plots import AFTER, BEFORE, INK, MUTED, Plot
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
    audit, whose = record.audit, ("the dense network", "the sparse network")
    asked = Settings(resamples=audit.resamples, seed=audit.seed)
    family = "The tests of this run are those of an audit of it."
    outcome = f"{status}, {_STATUS.get(status, 'see the method')}"
    inequality = (
        f"What is to be equal: {phrases.equality(record)}.",
        tables.measures(record),
        tables.degradation(record),
        tables.controls(record),
    )
    weights = (tables.layers(record), tables.rounds(record))
    return render(
        f"{phrases.model_name(record)} on {data.name}: {what}",
        f"{method.summary.rstrip('.')}. Seed {record.seed}.",
        section("", *words(run_paragraphs(record)), _tiles(record), _cell_plot(record)),
        *contrast(inequality, record.audit.cells, MODELS, "record.json"),
        section("Where the weights went", _layer_plot(record), *weights),
        section("Training", *_training(record)),
        section(
            "Cost and outcome",
            tables.cost(record),
            f"Status: {outcome}. {tolerance(record)} {budget(record)}",
            tables.validation(record),
        ),
        section("How this was found", *how(audit.n, asked, whose, family)),
        section(
            "Data, settings, environment",
            data.notes,
            tables.run_facts(record),
            settings("Full configuration", record.config),
        ),
        version=record.fairsparse,
    )


def _tiles(record: Record) -> Block:
    metrics, size, cost = record.audit.metrics, record.sparsity, record.cost
    tiles = []
    for metric in [
        m for m in dict.fromkeys(["accuracy", phrases.notion(record).gap]) if m in metrics
    ]:
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


def _layer_plot(record: Record) -> Plot:
    """Sparsity of each layer, in the network's order; named while the names fit."""
    layers = record.model.layers
    gone = [1 - layer["kept"] / layer["total"] for layer in layers]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        at = range(1, len(layers) + 1)
        axes.bar(at, [100 * share for share in gone], color=AFTER, width=0.5)
        axes.set_xlim(0.4, max(len(layers), 10) + 0.6)  # few layers make no walls of ink
        axes.set_ylim(0, 100)
        axes.set_ylabel("sparsity, %")
        axes.grid(visible=False, axis="x")
        if len(layers) <= 24:
            names = [plots.short(layer["name"], 22) for layer in layers]
            axes.set_xticks(at, names, rotation=40, ha="right")
        else:
            axes.set_xlabel("layer, from input to output")

    low, high, overall = map(phrases.sparsity, (min(gone), max(gone), record.sparsity.measured))
    caption = f"Sparsity of each prunable layer, from {low} to {high}; {overall} in all"
    return plots.plot("layers", 2.6, caption, draw, f"{phrases.plural(len(layers), 'layer')}.")


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
    plot = plots.plot("training", 3.8, caption, lambda figure: _draw(figure, history), more)
    return [plot, tables.stages(record)]


def _draw(figure: Figure, history: Sequence[dict[str, Any]]) -> None:
    """Loss, accuracy and worst cell over all epochs, one stage after the other."""
    top, bottom = figure.subplots(2, 1, sharex=True)
    curves = [
        (top, "loss", 1, INK, "-"),
        (bottom, "accuracy", 100, BEFORE, "-"),
        (bottom, "worst", 100, AFTER, "--"),
    ]
    end, starts = 0, []
    for name, stage in groupby(history, key=lambda epoch: epoch["stage"]):
        epochs, start = list(stage), end
        end += len(epochs)
        starts.append((start, name))
        mark = "o" if len(epochs) == 1 else ""  # a line through one point is invisible
        for axes, key, scale, colour, line in curves:
            values = plots.floats((epoch[key] for epoch in epochs), scale)
            look: dict[str, Any] = {"color": colour, "linestyle": line, "marker": mark}
            axes.plot(range(start + 1, end + 1), values, **look, markersize=3)
    for axes in (top, bottom):
        for start, _ in starts[1:]:
            axes.axvline(start + 0.5, color=MUTED, linewidth=0.7, linestyle=":")
    for start, name in starts if len(starts) <= 8 else []:
        look = {"fontsize": 7, "color": MUTED, "va": "bottom"}
        at = (start + 0.7, 1.0)
        top.annotate(plots.short(name, 18), at, xycoords=("data", "axes fraction"), **look)
    top.set_xlim(0.5, max(len(history), 2) + 0.5)  # one epoch leaves room for its name too
    top.set_ylabel("loss")
    bottom.set_ylabel("accuracy, %")
    bottom.set_xlabel("epoch, all stages in a row")
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    names = ["accuracy", "worst cell"]
    figure.legend(bottom.lines[:2], names, loc="outside lower right", ncols=2)
