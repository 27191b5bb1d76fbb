"""Reports: one run, or many runs of one data set, as a self-contained HTML text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import jinja2
import yaml

from fairsparse.auditing.examples import Settings
from fairsparse.report import phrases, plots
from fairsparse.report.phrases import Record
from fairsparse.report.run import controls, tables
from fairsparse.report.run.sentences import budget, run_paragraphs, tolerance
from fairsparse.report.sweep import plots as sweep_plots
from fairsparse.report.sweep import tables as sweep_tables
from fairsparse.report.sweep.sweep import Sweep, cell_table, gather, shared

_STATUS = {
    "feasible": "the sparsity was reached, and tolerance and budget kept where there are any",
    "eps_infeasible": "the accuracy tolerance was not met",
    "gap_infeasible": "the fairness budget was not met",
    "collapsed": "the network collapsed",
}


@cache
def environment() -> jinja2.Environment:
    """The templates, with every text escaped."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("fairsparse.report"),
        autoescape=True,  # names of classes and groups are whatever users' files hold
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )


def run_report(record: Record) -> str:
    """Return the report of one run.

    Parameters
    ----------
    record : dict
        The run's record, with undefined rates as None.

    Returns
    -------
    str
        HTML that needs no other file, no network and no scripts.
    """
    audit = record["audit"]
    reached = phrases.sparsity(record["sparsity"]["measured"])
    method, data = record["method"]["name"], record["data"]
    what = "dense" if phrases.is_dense(record) else f"{method}, {reached} sparse"
    layers = record["model"]["layers"]
    each = [1 - layer["kept"] / layer["total"] for layer in layers]
    spread = f"from {phrases.sparsity(min(each))} to {phrases.sparsity(max(each))}"
    return (
        environment()
        .get_template("run.html")
        .render(
            title=f"{phrases.model_name(record)} on {data['name']}: {what}",
            lead=f"{record['method']['summary'].rstrip('.')}. Seed {record['seed']}.",
            version=record["fairsparse"],
            paragraphs=run_paragraphs(record),
            tiles=_tiles(record),
            cell_plot=None if phrases.is_dense(record) else _cell_plot(record),
            notion=phrases.equality(record),
            measures=tables.measures(record),
            degradation=tables.degradation(record),
            controls=controls.of_run(record),
            resamples=f"{audit['resamples']:,}",
            cell_tables=tables.cells(record),
            least=Settings().least,
            layer_plot={
                "svg": plots.layers(
                    layers, f"Sparsity of {phrases.plural(len(layers), 'layer')}, {spread}."
                ),
                "caption": f"Sparsity of each prunable layer, {spread}; {reached} in all.",
            },
            layers=tables.layers(record),
            rounds=tables.rounds(record),
            training_plot=_training_plot(record["history"]),
            stages=tables.stages(record),
            cost=tables.cost(record),
            status=f"{record['status']}, {_STATUS.get(record['status'], 'see the method')}",
            tolerance=tolerance(record),
            budget=budget(record),
            validation=tables.validation(record),
            notes=data["notes"],
            facts=tables.facts(record),
            config=_yaml(record["config"]),
        )
    )


def comparison_report(records: Sequence[Record], links: Mapping[str, str] | None = None) -> str:
    """Return the report that compares many runs.

    Parameters
    ----------
    records : sequence of dict
        Records of one data set, model and notion of equality: methods x sparsities x seeds.
    links : mapping, optional
        Name of a run -> where its own report is. A run's name is its record's ``run``, or else
        ``method-sparsity-seedN``.

    Returns
    -------
    str
        HTML that needs no other file, no network and no scripts.

    Raises
    ------
    InputError
        Without records, and for records that cannot be compared.
    """
    sweep, record = gather(records), records[0]
    model, data = phrases.model_name(record), record["data"]
    compared = phrases.plural(len(sweep.labels), "method")
    return (
        environment()
        .get_template("comparison.html")
        .render(
            title=f"{model} on {data['name']}: {compared} compared",
            lead=f"{phrases.plural(len(records), 'run')}: {phrases.listing(sweep.labels)}.",
            version=record["fairsparse"],
            paragraphs=sweep_tables.paragraphs(sweep, record),
            means=sweep_tables.means(sweep, records),
            sizes=sweep_tables.notes(records),
            variants=sweep_tables.variants(sweep),
            controls=controls.of_sweep(sweep, record),
            sections=[
                *(_sweep_sections(sweep, record) if sweep.rows else []),
                {
                    "title": "Single runs",
                    "plots": [],
                    "tables": [sweep_tables.single_runs(records, links or {})],
                },
            ],
            notes=data["notes"],
            facts=tables.facts(record, several=True),
            config=_yaml(shared([r["config"] for r in records])),
            options=sweep_tables.options(sweep),
        )
    )


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def _tiles(record: Record) -> list[dict[str, str]]:
    gap = phrases.notion(record).gap
    metrics = [m for m in dict.fromkeys(["accuracy", gap]) if m in record["audit"]["metrics"]]
    tiles = []
    for metric in metrics:
        found = record["audit"]["metrics"][metric]
        value, form = found["candidate"], phrases.value_form(metric)
        dense = f"; dense {form(found['reference']['value'])}"
        name = phrases.label(metric)
        tiles.append(
            {
                "name": name[0].upper() + name[1:],
                "value": form(value["value"]),
                "note": phrases.interval(value, form) + ("" if phrases.is_dense(record) else dense),
            }
        )
    size, cost = record["sparsity"], record["cost"]
    tiles.append(
        {
            "name": "Sparsity",
            "value": phrases.sparsity(size["measured"]),
            "note": f"{size['kept']:,} of {size['total']:,} weights left",
        }
    )
    tiles.append(
        {
            "name": "Training steps",
            "value": tables.ratio(cost["steps"], cost["dense_steps"]),
            "note": f"{cost['steps']:,} steps in all, relative to dense training",
        }
    )
    return tiles


def _cell_plot(record: Record) -> dict[str, Any] | None:
    every = phrases.cells_of(record)
    cells = [c for c in phrases.by_drop(every) if phrases.defined(c["drop"])]
    if not cells:
        return None
    kind = cells[0]["kind"]
    noun = phrases.noun(kind)
    caption = f"Accuracy of each {noun} before and after, and its drop with the 95 % interval"
    if len(cells) > plots.MOST_CELLS:
        half = plots.MOST_CELLS // 2
        caption += (
            f"; of {phrases.plural(len(cells), noun)}, the {half} that lost most and the"
            f" {half} that gained most, or lost least"
        )
        cells = cells[:half] + cells[-half:]
    empty = [c["name"] for c in every if not phrases.defined(c["drop"])]
    if empty:
        caption += f"; without test examples: {phrases.listing(empty)}"
    return pictured(cells, f"{caption}.", ("dense", "sparse"))


def pictured(
    cells: Sequence[Mapping[Any, Any]], caption: str, models: tuple[str, str]
) -> dict[str, Any]:
    """A plot of what changed for cells, in this order."""
    first = cells[0]
    alt = (
        f"{caption} First: {first['name']}, from {phrases.percent(first['reference'], 1)} to"
        f" {phrases.percent(first['candidate'], 1)}, n = {first['n']}."
    )
    return {"svg": plots.cell_changes(cells, alt, models), "caption": caption}


def _training_plot(history: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    if not history:
        return None
    last = history[-1]
    caption = (
        "Loss, accuracy and accuracy of the worst cell on the training batches; dotted lines part"
        " the stages."
    )
    alt = (
        f"{caption} {phrases.plural(len(history), 'epoch')}; at the end, loss"
        f" {phrases.number(last['loss'], '.3f')}, accuracy {phrases.percent(last['accuracy'], 1)},"
        f" worst cell {phrases.percent(last['worst'], 1)}."
    )
    return {"svg": plots.training(history, alt), "caption": caption}


def _sweep_sections(sweep: Sweep, record: Record) -> list[dict[str, Any]]:
    notion, highest = phrases.notion(record), sweep.sparsities[-1]
    name, level = phrases.label(notion.gap), phrases.sparsity(highest)
    both = f"Accuracy against {name}; small marks are runs, large ones means over seeds."
    lines = f"Accuracy and {name} by sparsity; small marks are runs, lines join means over seeds."
    cells = [c for c in cell_table(sweep.at(highest)) if phrases.defined(c["dense"].value)]
    shown = sorted(cells, key=lambda c: c["dense"].value)[: plots.MOST_CELLS]
    caption = f"Accuracy of each {notion.audited_kind} at {level} sparsity, mean over seeds"
    if len(shown) < len(cells):
        caption += f"; of {len(cells)}, the {len(shown)} that the dense network serves worst"
    labels = [row.label for row in sweep.at(highest)]
    chart = sweep_plots.cell_accuracies(sweep, labels, shown, caption)
    return [
        {
            "title": "Accuracy and gap",
            "plots": [
                {"svg": sweep_plots.trade_off(sweep, notion.gap, both), "caption": both},
                {"svg": sweep_plots.against_sparsity(sweep, notion.gap, lines), "caption": lines},
            ],
            "tables": [sweep_tables.degradation(sweep, record)],
        },
        {
            "title": f"Who is served how well at {level} sparsity",
            "plots": [{"svg": chart, "caption": caption + "."}],
            "tables": [sweep_tables.cells(sweep, highest, record)],
        },
        {"title": "Cost", "plots": [], "tables": [sweep_tables.cost(sweep)]},
    ]
