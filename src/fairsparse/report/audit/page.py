"""An audit as a page and files; and the tables of a comparison, which runs have too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from fairsparse.auditing.document import document, safe_csv
from fairsparse.auditing.engine import Audit
from fairsparse.auditing.inputs.labels import CLASS
from fairsparse.auditing.manifest import digests
from fairsparse.checkpoint import write_json, write_text
from fairsparse.report import phrases, plots, table
from fairsparse.report.audit import sentences
from fairsparse.report.audit.bom import bom
from fairsparse.report.audit.markdown import model_card, summary
from fairsparse.report.gate import forget
from fairsparse.report.page import Block, Part, Section, note, render, section, words
from fairsparse.report.phrases import between, number, percent, points
from fairsparse.report.plots import Plot
from fairsparse.report.table import Cell, Column, Entry, Table

_PICTURED = 20
MODELS = ("reference", "candidate")
_CONFIDENCE = (
    "Above zero a model is surer than it is right. A model whose confidence is right in the long"
    " run has an expected calibration error (ECE), too: that is what sampling alone makes."
)
_COLUMNS = (
    "A drop is a loss of accuracy, below it its 95 % interval. “Lost” counts the examples that only"
    " the first model gets right, “gained” those that only the second does; both are flips. A small"
    " p says that chance alone hardly makes such a figure; it is adjusted for all tests made."
)
_bare = partial(number, spec=".1f", scale=100)
"""A difference in points, without the unit."""


def write(audit: Audit, folder: Path, inputs: Mapping[str, str] | None = None) -> Path:
    """Write the report, the tables as CSV, and what other tools read: see ``docs/audit.md``.

    Parameters
    ----------
    inputs : mapping of str to str, optional
        What the audit was made from: role or name -> file, run directory or model, as it was given.
        Its digests go into ``manifest.json``.
    """
    page, content = html(audit), document(audit)
    manifest = digests(inputs or {}, audit.settings)
    forget(folder)
    (folder / "calibration.csv").unlink(missing_ok=True)  # of an earlier audit
    if len(audit.calibration):
        write_text(folder / "calibration.csv", safe_csv(audit.calibration))
    write_text(folder / "measures.csv", safe_csv(audit.measures))
    write_text(folder / "cells.csv", safe_csv(audit.cells))
    write_text(folder / "summary.md", summary(audit))
    write_text(folder / "model_card.md", model_card(audit))
    write_text(folder / "report.html", page)
    write_json(folder / "bom.json", bom(audit, manifest))
    write_json(folder / "manifest.json", manifest)
    write_json(folder / "audit.json", content)
    return folder


def html(audit: Audit) -> str:
    """The report: one file without outside parts and without scripts."""
    first, *others = audit.candidates
    several = phrases.plural(len(audit.candidates), "candidate")
    how: list[Part] = [*sentences.method(audit), *map(note, audit.notes), _facts(audit)]
    return render(
        f"{several if others else first} against the reference",
        "",
        section("", _ranking(audit) if others else None),
        *(part for name in audit.candidates for part in _candidate(audit, name)),
        section("How this was found", *how),
    )


def _candidate(audit: Audit, name: str) -> list[Section]:
    measures, cells = sentences.of_candidate(audit, name)
    calibration = _calibration(audit.calibration[audit.calibration["candidate_name"] == name])
    tables = [_measures(frame, a) for a, frame in measures.groupby("attribute", sort=False)]
    accuracy = measures[measures["measure"] == "accuracy"].to_dict("records")[0]
    texts = words(sentences.paragraphs(audit, name))
    title, whose = (name, f": {name}") if len(audit.candidates) > 1 else ("", "")
    said = Block("verdict", phrases.sentence(sentences.headline(audit, name)))
    tiles = Block("tiles", figures(sentences.estimates(accuracy), cells))
    return [
        section(title, said, tiles, _plot(name, cells), *texts),
        *contrast(tables, cells, MODELS, "cells.csv", whose, calibration),
    ]


def figures(accuracy: Mapping[str, Any], cells: Sequence[Cell]) -> list[tuple[str, str, str]]:
    """What a reader sees first: the overall change, who lost most, for how many nothing is told."""
    change = accuracy["change"]
    roles = (percent(accuracy[role]["value"], 1) for role in ("reference", "candidate"))
    from_to = f"{phrases.interval(change, _bare)}; from {' to '.join(roles)}"
    tiles = [("Accuracy", number(change["value"], "+.1f", "points", 100), from_to)]
    tested = sentences.by_excess(cells)
    if tested:
        worst = max(tested, key=lambda cell: cell["drop"])
        ends = between(worst["low"], worst["high"], _bare)
        beside = f"{sentences.quoted(worst)}, n = {worst['n']:,}; {ends}"
        tiles.append(("Largest loss", points(worst["drop"], 1), beside))
    unclear = ("data do not tell", "too few", "empty")
    counts = Counter(cell.get("finding") for cell in cells)
    why = "; ".join(f"{counts[finding]:,} {finding}" for finding in unclear if counts[finding])
    told = f"{sum(counts[f] for f in unclear):,} of {len(cells):,}"
    tiles.append(("Not told", told, why or "every class and group has a finding"))
    return tiles


def contrast(
    measures: Iterable[Part],
    cells: Iterable[Cell],
    models: tuple[str, str],
    file: str,
    whose: str = "",
    calibration: Table | None = None,
) -> list[Section]:
    """The sections of two models: how they differ over all, in confidence, and cell by cell.

    Titles end with `whose`; if the page has too many cells, all are in `file`.
    """
    columns = [
        Column(models[0], lambda c: percent(c["reference"], 1)),
        Column(models[1], lambda c: percent(c["candidate"], 1)),
        Column("drop, points", lambda c: table.estimate(c, _bare, "drop")),
        Column("beyond the overall drop, points", _beyond),
        Column("lost / gained", lambda c: f"{c['lost']:,} / {c['gained']:,}"),
        Column("adjusted p of flips", lambda c: phrases.p_value(c["p_adjusted"])),
        Column("adjusted p of that", lambda c: phrases.p_value(c["excess_p_adjusted"])),
        Column("finding", _finding, text=True),
    ]
    tables = table.cell_tables(cells, columns, "excess_drop", file)
    return [
        section(f"Accuracy and inequality{whose}", *measures),
        section(f"Can confidence be trusted{whose}", calibration and _CONFIDENCE, calibration),
        section(f"Who lost and who gained{whose}", _COLUMNS, *tables),
    ]


def _beyond(cell: Cell) -> Entry:
    """What it lost beyond the overall drop."""
    return table.estimate(cell, _bare, "excess_drop", "excess_")


def _finding(cell: Cell) -> Entry:
    """What is told of a cell, and the drop that would have been found where it is nothing."""
    finding = cell.get("finding", phrases.DASH)
    if not phrases.defined(cell.get("detectable")):
        return str(finding)
    return finding, f"a drop of {points(cell['detectable'], 1)} would have been found"


def measure(metric: str, estimates: Mapping[str, Any], undefined: str = "") -> list[Entry]:
    """The row of a measure: reference, candidate, change, adjusted p; dashes for what it lacks."""
    value, change = phrases.value_form(metric), phrases.change_form(metric)
    candidate = estimates["candidate"]
    about = phrases.about(metric).summary
    if phrases.defined(candidate.get("floor")):
        about += f" Sampling alone makes about {value(candidate['floor'])} of it."
    if made := phrases.made_by(estimates.get("candidate_ends")):
        about += f" It is {made}."
    if candidate.get("how") == "all cells at once":
        about += " Interval: all cells at once."
    forms = {"reference": value, "candidate": value, "change": change}
    return [
        (phrases.label(metric), about + undefined),
        *(
            table.estimate(estimates[r], form) if r in estimates else phrases.DASH
            for r, form in forms.items()
        ),
        phrases.p_value(estimates.get("p_adjusted")),
    ]


def _ranking(audit: Audit) -> Table:
    rows: list[list[Entry]] = []
    for name in audit.candidates:
        measures, cells = sentences.of_candidate(audit, name)
        accuracy = measures[measures["measure"] == "accuracy"].to_dict("records")[0]
        worst = next(iter(sentences.by_excess(cells)), None)
        change = table.estimate(accuracy, phrases.signed, "change", "change_")
        lost = str(sum(cell["finding"] == sentences.LOST_MORE for cell in cells))
        most = (points(worst["excess_drop"]), sentences.name(worst)) if worst else phrases.DASH
        rows.append([name, change, lost, most, sentences.headline(audit, name)])
    head = ["candidate", "accuracy", "lost more than others", "most beyond the overall drop"]
    head.append("in words")
    caption = "Candidates, those first where fewest classes and groups lost more than the others"
    return Table(caption, head, rows, text=(3, 4))


def _measures(frame: pd.DataFrame, attribute: str) -> Table:
    rows = [measure(r["measure"], sentences.estimates(r)) for r in frame.to_dict("records")]
    whose = "classes" if attribute == CLASS else attribute
    caption = f"Measures over {whose}, with 95 % intervals"
    return Table(caption, ["measure", *MODELS, "change", "adjusted p"], rows)


def _calibration(frame: pd.DataFrame) -> Table | None:
    if frame.empty:
        return None
    roles = (*MODELS, "change")

    def error(role: str) -> Column:
        def entry(row: Cell) -> Entry:
            return _bare(row[f"{role}_ece"]), f"by chance {_bare(row[f'{role}_floor'])}"

        return Column(f"ECE, {role}", entry)

    columns = [
        Column("whose", lambda row: "all" if row["kind"] == "all" else sentences.name(row)),
        Column("n", lambda row: f"{row['n']:,}"),
        *(Column(r, partial(table.estimate, form=_bare, value=r, ends=f"{r}_")) for r in roles),
        *map(error, MODELS),
        Column("adjusted p of change", lambda row: phrases.p_value(row["p_adjusted"])),
    ]
    caption = "Confidence less accuracy, and expected calibration error (ECE), in points"
    return table.of(caption, sentences.cells(frame.head(table.MOST_ROWS)), columns, table.FOLD)


def _plot(name: str, cells: Sequence[Cell]) -> Plot | None:
    worst = sentences.by_excess(cells)[:_PICTURED]
    if not worst:
        return None
    rows = [{**cell, "name": sentences.name(cell)} for cell in worst]
    caption = (
        f"{phrases.sentence(sentences.people(rows))} that lost most beyond the overall drop:"
        f" accuracy with the reference and with {name}, and the drop with its 95 % interval"
    )
    return plots.cell_changes(rows, ("reference", name), caption)


def _facts(audit: Audit) -> Table:
    rows = [("examples", f"{audit.n:,}"), ("classes", table.counted(audit.class_names))]
    rows += [(f"groups by {name}", table.counted(v)) for name, v in audit.attributes.items()]
    settings = vars(audit.settings) | {
        "margin": points(audit.settings.margin, 1),
        "alpha": percent(audit.settings.alpha, 1),
    }
    rows += [(name, str(value)) for name, value in settings.items()]
    return table.facts(rows)
