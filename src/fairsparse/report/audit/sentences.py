"""What an audit says in plain words: what changed, for whom, and how sure that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pandas as pd

from fairsparse.auditing.engine import Audit
from fairsparse.auditing.examples import Settings
from fairsparse.auditing.findings import LOST_LESS, LOST_MORE
from fairsparse.auditing.inputs.labels import CLASS
from fairsparse.fairness.measure.degradations import DEGRADATIONS
from fairsparse.report import phrases, table
from fairsparse.report.phrases import SPACE, bounded, percent, points, signed
from fairsparse.report.table import Cell


def of_candidate(audit: Audit, candidate: str) -> tuple[pd.DataFrame, list[Cell]]:
    """The measures and the cells of one candidate."""
    measures = audit.measures[audit.measures["candidate_name"] == candidate]
    return measures, cells(audit.cells[audit.cells["candidate_name"] == candidate])


def cells(rows: pd.DataFrame) -> list[Cell]:
    """Rows of cells, one by one; attribute and cell are called kind and name, as in records."""
    named = rows.rename(columns={"attribute": "kind", "cell": "name"})
    return cast(list[Cell], named.to_dict("records"))


def paragraphs(audit: Audit, candidate: str) -> list[str]:
    """A few short paragraphs about one candidate."""
    measures, rows = of_candidate(audit, candidate)
    texts = [_overall(audit, candidate, measures), behind(rows), _findings(audit, rows)]
    texts += [_gaps(audit, measures), _confidence(audit, candidate)]
    return [text for text in texts if text]


def headline(audit: Audit, candidate: str) -> str:
    """One sentence."""
    findings = Counter(cell["finding"] for cell in of_candidate(audit, candidate)[1])
    more, lost = findings[LOST_MORE], findings["lost"]
    if more:
        return f"{phrases.plural(more, 'cell')} lost more than others"
    also = f" more than others; {phrases.plural(lost, 'cell')} lost" if lost else ""
    return f"no cell is shown to have lost{also}"


def name(cell: Cell) -> str:
    """A cell with its attribute, as a text names it."""
    return f"{cell['kind']}: {cell['name']}"


def quoted(cell: Cell) -> str:
    """The same in quotation marks."""
    return f"“{name(cell)}”"


def estimates(row: Mapping[Any, Any]) -> dict[str, Any]:
    """What a row of measures says of reference, candidate and change, as a record has it.

    A degradation has the candidate alone.
    """
    alone = row["measure"] in DEGRADATIONS
    estimates: dict[str, Any] = {
        role: {"value": row[role], "low": row[f"{role}_low"], "high": row[f"{role}_high"]}
        for role in (["candidate"] if alone else ["reference", "candidate", "change"])
    }
    estimates["candidate"] |= {"floor": row.get("floor"), "how": row["how"]}
    if isinstance(row.get("candidate_few"), bool):
        ends = {name: row[f"candidate_{name}"] for name in ("lowest", "highest", "few")}
        sizes = {n: row[f"candidate_{n}"] for n in ("lowest_n", "highest_n")}
        whole = {n: int(size) for n, size in sizes.items() if phrases.defined(size)}
        estimates["candidate_ends"] = {**ends, **sizes, **whole}
    return estimates | {"p_adjusted": row["p_adjusted"]}


def _overall(audit: Audit, candidate: str, measures: pd.DataFrame) -> str:
    accuracy = estimates(measures[measures["measure"] == "accuracy"].to_dict("records")[0])
    overall = audit.overall.to_dict("records")  # a row as a Series would make counts floats
    flips = next(row for row in overall if row["candidate_name"] == candidate)
    change = accuracy["change"]
    text = (
        f"{candidate} was compared with the reference on the same {audit.n:,} examples. Accuracy"
        f" was {percent(accuracy['reference']['value'])} and is"
        f" {percent(accuracy['candidate']['value'])}, a change of {bounded(change, signed)}. The"
        f" two predict differently for {percent(flips['churn'])}: {flips['lost']:,} examples only"
        f" the reference gets right, {flips['gained']:,} only {candidate}, and"
        f" {flips['both_wrong_differently']:,} both get wrong, each in its own way."
    )
    doubt = phrases.doubt(change["low"], change["high"], "whether accuracy changed")
    return f"{text} {doubt}".strip()


def by_excess(cells: Sequence[Cell]) -> list[Cell]:
    """The cells that were tested, the largest excess drop first."""
    return table.ranked((c for c in cells if phrases.defined(c["excess_p"])), "excess_drop", -1)


def behind(cells: Sequence[Cell]) -> str:
    """Which cells lost more than the others."""
    tested = by_excess(cells)
    if not tested:
        return "No cell is large enough to be tested."
    lost = [cell for cell in tested if _lost_more(cell)]
    among = phrases.plural(len(tested), "cell")
    if not lost:
        return (
            f"Of {among} that were tested, none is shown to have lost more than the others. Most"
            f" beyond the overall drop lost {quoted(tested[0])}: {_excess(tested[0])}. That is no"
            " proof that nobody lost more: a difference within the interval would not have been"
            " found."
        )
    first = lost[0]
    text = (
        f"Of {among} that were tested, {len(lost):,} lost more than the others. Most lost"
        f" {quoted(first)}: from {percent(first['reference'])} to {percent(first['candidate'])},"
        f" beyond the overall drop {_excess(first)}."
    )
    if len(lost) > 1:
        text += f" The others are {phrases.listing(list(map(quoted, lost[1:])), 6)}."
    return text


def _lost_more(cell: Cell) -> bool:
    if "finding" in cell:
        return bool(cell["finding"] == LOST_MORE)
    # records from before cells had a finding: what their own adjusted p-value says
    return bool(cell["excess_p_adjusted"] < 0.05 and cell["excess_drop"] > 0)


def _excess(cell: Cell) -> str:
    ends = {"low": cell["excess_low"], "high": cell["excess_high"]}
    p = cell["excess_p_adjusted"]
    equals = "" if p < 0.001 else "=" + SPACE
    return (
        f"{points(cell['excess_drop'])} (n{SPACE}={SPACE}{cell['n']:,},"
        f" {phrases.interval(ends, points)}, adjusted p{SPACE}{equals}{phrases.p_value(p)})"
    )


def _findings(audit: Audit, cells: Sequence[Cell]) -> str:
    counts = Counter(cell["finding"] for cell in cells)
    margin = points(audit.settings.margin, 1)
    meanings = {
        "no worse": f"are shown to lose less than {margin}",
        "lost": "are shown to have lost accuracy",
        LOST_LESS: "are shown to have lost less than the others",
        "gained": "are shown to have gained",
        "data do not tell": "may have lost or gained: the data do not tell",
        "too few": f"have fewer than {audit.settings.least} examples and were not tested",
        "empty": "have no examples",
    }
    parts = [f"{counts[finding]:,} {says}" for finding, says in meanings.items() if counts[finding]]
    return f"Of all {phrases.plural(len(cells), 'cell')}, {'; '.join(parts)}." if parts else ""


def _gaps(audit: Audit, measures: pd.DataFrame) -> str:
    unequal = measures["measure"].map(lambda name: phrases.about(name).of_inequality)
    spread = measures[unequal & measures["p_adjusted"].notna()]
    sure = spread[spread["p_adjusted"] < audit.settings.alpha]
    measured = f"{phrases.plural(len(spread), 'measure')} of inequality"
    if sure.empty:
        return f"None of {measured} is shown to have changed."
    changes = []
    for row in sure.sort_values("p_adjusted").to_dict("records"):
        form, shift = phrases.value_form(row["measure"]), phrases.change_form(row["measure"])
        whose = "" if row["attribute"] == CLASS else f" over {row['attribute']}"
        changes.append(
            f"{phrases.label(row['measure'])}{whose} from {form(row['reference'])} to"
            f" {form(row['candidate'])} ({shift(row['change'])})"
        )
    return f"Of {measured}, {len(sure)} changed beyond chance: {phrases.listing(changes, 5)}."


def _confidence(audit: Audit, candidate: str) -> str:
    rows = audit.calibration[audit.calibration["candidate_name"] == candidate]
    if rows.empty:
        return ""
    everyone, groups = rows.iloc[0], rows.iloc[1:]
    sure = everyone["p_adjusted"] < audit.settings.alpha
    text = (
        f"Confidence less accuracy was {signed(everyone['reference'])} and is"
        f" {signed(everyone['candidate'])}, a change"
        f" {'beyond chance' if sure else 'that the data do not tell from chance'}."
    )
    if groups.empty:
        return text
    changed = groups[groups["p_adjusted"] < audit.settings.alpha]
    if changed.empty:
        return f"{text} For no group is it shown to have changed."
    ordered = cells(changed.sort_values("change", ascending=False))
    most = [f"{quoted(row)} by {signed(row['change'])}" for row in ordered]
    return f"{text} It changed beyond chance for {phrases.listing(most, 4)}."


def method(audit: Audit) -> list[str]:
    """How findings came about, for the end of a report."""
    family = f"There are {audit.tests:,} tests in this audit."
    return how(audit.n, audit.settings, ("the reference", "the candidate"), family)


def how(n: int, settings: Settings, models: tuple[str, str], family: str) -> list[str]:
    """How the findings on two models of n examples came about; `family` says what was tested."""
    first, second = models
    return [
        f"Both models were given the same {n:,} examples, and every figure is paired. A drop is the"
        f" accuracy of {first} less that of {second}, so a positive drop is a loss; an excess drop"
        f" is what a cell lost beyond the overall drop. “Lost” counts examples that only {first}"
        f" gets right, “gained” those that only {second} does.",
        f"{family} Those of cells have nine tenths of the level, those of measures and confidence"
        " the rest; within either they are adjusted together, for what they have in common, by the"
        " step-down max-T method: if nothing had changed, an audit would report anything at all in"
        f" at most {percent(settings.alpha, 0)} of cases. {_first(settings)}Flips have McNemar's"
        " test, exact where they are few; an excess drop the level at which its interval reaches"
        " zero, and so has the change of a measure. Cells with fewer than"
        f" {settings.least} examples are not tested.",
        f"“No worse” means that a drop of {points(settings.margin, 1)} or more lies outside of the"
        " interval that holds for all cells at once; that no drop was found is not that. Intervals"
        f" by drawing use {settings.resamples:,} draws from seed {settings.seed}.",
        "Intervals hold one at a time and are not adjusted, but for those that are said to hold for"
        " all cells at once, with which findings agree. Ranges and extremes that do not stand out"
        " from what sampling alone makes of them have intervals from “all cells at once”, and their"
        " changes “both models joined”: wide, and they cover more often than they say. CWV contains"
        " what sampling"
        " adds; its interval is of the variance behind it, may lie below CWV itself, and goes with"
        " the corrected CWV, which may be negative.",
    ]


def _first(settings: Settings) -> str:
    """What was asked first, and what that leaves to the rest."""
    if settings.primary is None:
        return ""
    return (
        f"Asked first, and at the full level, was {settings.primary}: all else is tested at what"
        " that leaves, which is nothing where nothing of it was found. "
    )


def ranking(audit: Audit) -> Sequence[str]:
    """A sentence for each candidate, in the order of the ranking; empty for a single one."""
    if len(audit.candidates) == 1:
        return []
    return [f"{i}. {c}: {headline(audit, c)}" for i, c in enumerate(audit.candidates, 1)]
