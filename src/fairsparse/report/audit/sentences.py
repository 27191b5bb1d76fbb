"""What an audit says in plain words: what changed, for whom, and how sure that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast
from weakref import WeakKeyDictionary

import pandas as pd

from fairsparse.auditing.engine import Audit
from fairsparse.auditing.examples import Settings
from fairsparse.auditing.findings import LOST_LESS, LOST_MORE, NEITHER
from fairsparse.auditing.inputs.labels import CLASS
from fairsparse.fairness.measure.degradations import DEGRADATIONS
from fairsparse.report import phrases, table
from fairsparse.report.caution import cautions
from fairsparse.report.phrases import SPACE, between, bounded, number, percent, points, signed
from fairsparse.report.table import Cell

_bare = partial(number, spec=".1f", scale=100)
"""A difference in points, without the unit."""


_KNOWN: WeakKeyDictionary[Audit, dict[str, tuple[pd.DataFrame, list[Cell]]]]
_KNOWN = WeakKeyDictionary()
"""Rows of audits: there may be many thousands, and every part of a report asks for them."""


def of_candidate(audit: Audit, candidate: str) -> tuple[pd.DataFrame, list[Cell]]:
    """The measures and the cells of one candidate."""
    known = _KNOWN.setdefault(audit, {})
    if candidate not in known:
        measures = audit.measures[audit.measures["candidate_name"] == candidate]
        some = audit.cells[audit.cells["candidate_name"] == candidate]
        known[candidate] = (measures, cells(some))
    return known[candidate]


def cells(rows: pd.DataFrame) -> list[Cell]:
    """Rows of cells, one by one; attribute and cell are called kind and name, as in records."""
    named = rows.rename(columns={"attribute": "kind", "cell": "name"})
    return cast(list[Cell], named.to_dict("records"))


def paragraphs(audit: Audit, candidate: str) -> list[str]:
    """A few short paragraphs about one candidate."""
    measures, rows = of_candidate(audit, candidate)
    texts = [_overall(audit, candidate, measures), behind(rows), _findings(audit, rows)]
    texts += [_reach(rows), _gaps(audit, measures), _confidence(audit, candidate)]
    return [text for text in texts if text]


def headline(audit: Audit, candidate: str) -> str:
    """One sentence: who lost more than the others, by how much; what speaks against asking."""
    counts = audit.contrasts[candidate][CLASS].counts
    clauses = cautions(counts, ("the reference", candidate), audit.class_names)
    return "; ".join([*clauses, verdict(of_candidate(audit, candidate)[1])])


def verdict(cells: Sequence[Cell]) -> str:
    """Who lost more than the others, with the largest loss and its interval, as a clause."""
    tested = by_excess(cells)
    if not tested:
        return "nobody was compared, for no class or group has enough examples"
    more = [cell for cell in tested if _lost_more(cell)]
    whole = {(cell["kind"], cell["name"]): cell["excess_drop"] for cell in more}
    more = [cell for cell in more if not _implied(cell, whole)]
    lost = [cell for cell in tested if cell.get("finding") == "lost"]
    if more:
        ends = (f"excess{band}_{end}" for band in ("_band", "") for end in ("low", "high"))
        low, high, *_ = (more[0][end] for end in ends if phrases.defined(more[0].get(end)))
        whom = f": {_called(more[0])}," if len(more) == 1 else f", most {quoted(more[0])}:"
        by = f"{points(more[0]['excess_drop'], 1)}, {between(low, high, _bare)}"
        text = f"{people(more)} lost more than the others{whom} {by}"
    elif lost:
        text = f"{people(lost)} lost, and nobody is shown to have lost more than the others"
    else:
        text = "no class or group is shown to have lost"
        each = (cell.get("detectable") for cell in tested)
        unclear = [drop for drop in each if drop is not None and phrases.defined(drop)]
        if unclear:
            text += f"; in each a drop of {points(max(unclear), 1)} would have been found"
    neither = [cell for cell in cells if cell.get("finding") == NEITHER]
    serves = "is" if len(neither) == 1 else "are"
    return text + f"; {people(neither)} {serves} served by neither model" * bool(neither)


def _implied(cell: Cell, whole: Mapping[tuple[str, str], float]) -> bool:
    """Whether a cell is part of one that lost `whole`, and not shown to have lost more than that.

    >>> part = {"kind": "class x sex", "name": "cat | female", "excess_low": 0.02}
    >>> _implied(part, {("sex", "female"): 0.03}), _implied(part, {("sex", "female"): 0.01})
    (True, False)
    """
    kinds, names = cell["kind"].split(" x "), cell["name"].split(" | ")
    if len(kinds) == 1:
        return False
    parts = (whole.get(part) for part in zip(kinds, names, strict=False))
    return any(lost is not None and not cell["excess_low"] > lost for lost in parts)


def people(cells: Sequence[Cell]) -> str:
    """How many classes and groups there are among cells.

    >>> people([{"kind": "sex"}, {"kind": "class"}, {"kind": "sex x age"}])
    'one class and 2 groups'
    """
    counts = Counter(phrases.noun(cell["kind"]) for cell in cells)
    nouns = sorted(counts, key=lambda noun: (len(noun.split()), noun))
    each = [f"one {n}" if counts[n] == 1 else phrases.plural(counts[n], n) for n in nouns]
    return " and ".join([", ".join(each[:-1]), each[-1]] if len(each) > 1 else each)


def name(cell: Cell) -> str:
    """A cell with its attribute, as a text names it."""
    return f"{cell['kind']}: {cell['name']}" if cell["kind"] else str(cell["name"])


def _called(cell: Cell) -> str:
    """A cell by its name alone where that says enough."""
    alone = " x " not in cell["kind"] and any(c.isalpha() for c in cell["name"])
    return str(cell["name"]) if alone else name(cell)


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


CELL = "A cell is a class, a group, or a class within a group."


def behind(cells: Sequence[Cell]) -> str:
    """Which cells lost more than the others."""
    tested = by_excess(cells)
    if not tested:
        return f"{CELL} No cell is large enough to be tested."
    lost = [cell for cell in tested if _lost_more(cell)]
    among = phrases.plural(len(tested), "cell")
    if not lost:
        return (
            f"{CELL} Of {among} that were tested, none is shown to have lost more than the others."
            f" Most beyond the overall drop lost {quoted(tested[0])}: {_excess(tested[0])}. That is"
            " no proof that nobody lost more: a difference within the interval would not have been"
            " found."
        )
    first = lost[0]
    text = (
        f"{CELL} Of {among} that were tested, {len(lost):,} lost more than the others. Most lost"
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
        NEITHER: "are served by neither model, that is, no better than by guessing",
        "data do not tell": "may have lost or gained: the data do not tell",
        "too few": f"have fewer than {audit.settings.least} examples and were not tested",
        "empty": "have no examples",
    }
    parts = [f"{counts[finding]:,} {says}" for finding, says in meanings.items() if counts[finding]]
    return f"Of all {phrases.plural(len(cells), 'cell')}, {'; '.join(parts)}." if parts else ""


def _reach(cells: Sequence[Cell]) -> str:
    """How large a drop would have been found where the data do not tell."""
    some = [cell for cell in cells if phrases.defined(cell["detectable"])]
    if not some:
        return ""
    ends = [choose(some, key=lambda cell: cell["detectable"]) for choose in (min, max)]
    each = (f"{points(c['detectable'], 1)} in {quoted(c)} (n = {c['n']:,})" for c in ends)
    drops = " to ".join(dict.fromkeys(each))
    return (
        f"Where the data do not tell, a drop of {drops} would have been found with a chance of"
        f" 80{SPACE}%; smaller ones may be there."
    )


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
        f" accuracy of {first} less that of {second}, so a positive drop is a loss. “Lost” counts"
        f" examples that only {first} gets right, “gained” those that only {second} does.",
        f"{family} Those of cells have nine tenths of the level, those of measures and confidence"
        " the rest; within either they are adjusted together, for what they have in common, by the"
        " step-down max-T method: if nothing had changed, an audit would report anything at all in"
        f" at most {percent(settings.alpha, 0)} of cases. {_first(settings)}Flips have McNemar's"
        " test, exact where they are few; a drop beyond the overall one the level at which its"
        " interval reaches zero, and so has the change of a measure. Cells with fewer than"
        f" {settings.least} examples are not tested.",
        f"“No worse” means that a drop of {points(settings.margin, 1)} or more lies outside of the"
        " interval that holds for all cells at once; that no drop was found is not that. “Served by"
        " neither” means that no change was found, and that neither model is shown to do better"
        f" there than guessing. Intervals by drawing use up to {settings.resamples:,} draws from"
        f" seed {settings.seed}.",
        "Intervals hold one at a time and are not adjusted, but for those that are said to hold for"
        " all cells at once, with which findings agree. Ranges and extremes that do not stand out"
        " from what sampling alone makes of them have intervals from “all cells at once”, and their"
        " changes “both models joined”: wide, and they cover more often than they say. The variance"
        " over classes (CWV) contains what sampling adds; its interval is of the variance behind"
        " it, may lie below it, and goes with the variance less sampling, which may be negative.",
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
    """Sentences on several candidates and on every two of them; empty for a single one."""
    if len(audit.candidates) == 1:
        return []
    places = [
        f"{i}. {row['candidate_name']}: {headline(audit, row['candidate_name'])}; {_place(row)}"
        for i, row in enumerate(audit.ranking.to_dict("records"), 1)
    ]
    return [*places, *map(_versus, audit.versus.to_dict("records"))]


def _place(row: Mapping[Any, Any]) -> str:
    if not phrases.defined(row["worst"]):
        return "no cell is large enough to be compared."
    ranks = {row["rank_low"], row["rank_high"]}
    place = " to ".join(map(str, sorted(ranks)))
    return (
        f"its largest excess drop is {points(row['worst'])} and, whichever candidate is chosen, at"
        f" most {points(row['worst_high'])}; by that it may rank {place}."
    )


def _versus(row: Mapping[Any, Any]) -> str:
    first, second = row["first"], row["second"]
    better, worse = (phrases.listing([f"“{c}”" for c in row[k]], 4) for k in ("better", "worse"))
    sides = [
        f"{who} is better for {cells}" for who, cells in ((second, better), (first, worse)) if cells
    ]
    shown = "; ".join(sides) or "in no cell is either shown to be better"
    return (
        f"Against {first}, {second} has {bounded({**row, 'value': row['change']}, signed)} of"
        f" accuracy; {shown}."
    )
