"""The report of one run: what was done, what it cost, and to whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fairsparse.auditing.examples import Settings
from fairsparse.fairness.steering.budget import MEASURES, Budget
from fairsparse.record import Record
from fairsparse.report import caution, phrases, plots, table
from fairsparse.report.audit import sentences
from fairsparse.report.audit.page import contrast, figures
from fairsparse.report.audit.sentences import behind, how
from fairsparse.report.page import Block, Part, render, section, settings, words
from fairsparse.report.phrases import SPACE, bounded, number, percent, points, signed
from fairsparse.report.plots import AFTER, BEFORE, INK, MUTED, Plot
from fairsparse.report.run import tables
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
    audit, networks = record.audit, ("the dense network", "the sparse network")
    least = record.config.get("least", Settings.least)
    asked = Settings(resamples=audit.resamples, seed=audit.seed, least=least)
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
        section("", *_verdict(record), _cell_plot(record), *words(run_paragraphs(record))),
        *contrast(inequality, audit.cells, MODELS, "record.json"),
        section("Where the weights went", _layer_plot(record), *weights),
        section("Training", *_training(record)),
        section(
            "Cost and outcome",
            tables.cost(record),
            f"Status: {outcome}. {tolerance(record)} {budget(record)}",
            tables.validation(record),
        ),
        section("How this was found", *how(audit.n, asked, networks, family)),
        section(
            "Data, settings, environment",
            data.notes,
            tables.run_facts(record),
            settings("Full configuration", record.config),
        ),
        version=record.fairsparse,
    )


def _verdict(record: Record) -> list[Block]:
    """Who lost more than the others, and what stands against any verdict; figures below it."""
    clauses = caution.of_run(record)
    if not phrases.is_dense(record):
        clauses.append(sentences.verdict(phrases.cells_of(record)))
    said = phrases.sentence("; ".join(clauses))
    return [*([Block("verdict", said)] if said else []), _tiles(record)]


def _tiles(record: Record) -> Block:
    metrics, size, cost = record.audit.metrics, record.sparsity, record.cost
    dense, gap = phrases.is_dense(record), phrases.notion(record).gap
    tiles = [] if dense else figures(metrics["accuracy"], phrases.cells_of(record))
    for metric in ["accuracy"] * dense + [gap] * (gap in metrics):
        value, form = metrics[metric]["candidate"], phrases.value_form(metric)
        beside = phrases.interval(value, form)
        if made := phrases.made_by(metrics[metric].get("candidate_ends")):
            beside += f"; {made}"
        if not dense:
            beside += f"; dense {form(metrics[metric]['reference']['value'])}"
        tiles.append((phrases.sentence(phrases.label(metric)), form(value["value"]), beside))
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
            names = phrases.lines([layer["name"] for layer in layers], 22)
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
    curves = plots.plot("training", 3.8, caption, lambda figure: _curves(figure, history), more)
    return [curves, tables.stages(record)]


def _curves(figure: Figure, history: Sequence[dict[str, Any]]) -> None:
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
    names = phrases.lines([name for _, name in starts], 18)
    for (start, _), name in zip(starts, names, strict=True) if len(starts) <= 8 else []:
        look = {"fontsize": 7, "color": MUTED, "va": "bottom"}
        at = (start + 0.7, 1.0)
        top.annotate(name, at, xycoords=("data", "axes fraction"), **look)
    top.set_xlim(0.5, max(len(history), 2) + 0.5)  # one epoch leaves room for its name too
    top.set_ylabel("loss")
    bottom.set_ylabel("accuracy, %")
    bottom.set_xlabel("epoch, all stages in a row")
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    names = ["accuracy", "worst cell"]
    figure.legend(bottom.lines[:2], names, loc="outside lower right", ncols=2)


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
    name = phrases.sentence(phrases.label(metric))
    if not phrases.defined(change["value"]):
        names = record.audit.candidate["undefined"].get(metric, [])
        return f"{name} is {phrases.lacking(names)}."
    now = f"{name}, the {meaning[0].lower()}{meaning[1:]}, is {bounded(after, form)}"
    made = phrases.made_by(estimates.get("candidate_ends"))
    now += f", {made}" * bool(made)
    outside = after["high"] is not None and after["value"] > after["high"]
    note = " It lies above its interval, which leaves out what sampling alone adds." * outside
    if phrases.is_dense(record):
        return f"{now}.{note}"
    reading = tables.reading(record, metric)
    verdict = _VERDICTS.get(reading, "the data do not tell whether it changed")
    if reading == tables.SMALLER:
        verdict = f"it is smaller, and that is no gain, for {caution.of_run(record)[0]}"
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
