"""What an audit says in plain words: what changed, for whom, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from fairsparse.auditing.engine import Audit
from fairsparse.auditing.findings import LOST_MORE
from fairsparse.auditing.inputs.labels import CLASS
from fairsparse.report import phrases
from fairsparse.report.phrases import SPACE, percent, points


def of(audit: Audit, candidate: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The measures and the cells of one candidate."""
    return (
        audit.measures[audit.measures["candidate_name"] == candidate],
        audit.cells[audit.cells["candidate_name"] == candidate],
    )


def paragraphs(audit: Audit, candidate: str) -> list[str]:
    """A few short paragraphs about one candidate."""
    measures, cells = of(audit, candidate)
    return [
        _overall(audit, candidate, measures),
        behind(cells),
        _shown(audit, cells),
        _gaps(audit, measures),
        _confidence(audit, candidate),
    ]


def headline(audit: Audit, candidate: str) -> str:
    """One sentence."""
    _, cells = of(audit, candidate)
    behind = int((cells["finding"] == LOST_MORE).sum())
    if behind:
        return f"{phrases.plural(behind, 'cell')} lost more than others"
    lost = int((cells["finding"] == "lost").sum())
    if lost:
        return (
            f"no cell is shown to have lost more than others; {phrases.plural(lost, 'cell')} lost"
        )
    return "no cell is shown to have lost"


def name(row: pd.Series) -> str:
    """A cell with its attribute, as a text names it."""
    return f"{row['attribute']}: {row['cell']}"


def _overall(audit: Audit, candidate: str, measures: pd.DataFrame) -> str:
    row = measures[measures["measure"] == "accuracy"].iloc[0]
    overall = audit.overall[audit.overall["candidate_name"] == candidate]
    found = overall.to_dict("records")[0]  # a row as a Series would make counts floats
    change = points(row["change"], sign="+")
    bounds = phrases.between(row["change_low"], row["change_high"], lambda v: points(v, sign="+"))
    text = (
        f"{candidate} was compared with the reference on the same {audit.n:,} examples. Accuracy"
        f" was {percent(row['reference'])} and is {percent(row['candidate'])}, a change of {change}"
        f" (95{SPACE}% interval {bounds}). The two predict differently for"
        f" {percent(found['churn'])}: {found['lost']:,} examples only the reference gets right,"
        f" {found['gained']:,} only {candidate}, and {found['both_wrong_differently']:,} both get"
        " wrong, each in its own way."
    )
    doubt = phrases.doubt(row["change_low"], row["change_high"], "whether accuracy changed")
    return f"{text} {doubt}".strip()


def behind(cells: pd.DataFrame) -> str:
    """Which cells lost more than the others, of an audit or of a run."""
    tested = cells[cells["excess_p"].notna()]
    if tested.empty:
        return "No cell is large enough to be tested."
    lost = tested[tested["finding"] == LOST_MORE].sort_values("excess_drop", ascending=False)
    among = phrases.plural(len(tested), "cell")
    if lost.empty:
        worst = tested.loc[tested["excess_drop"].idxmax()]
        return (
            f"Of {among} that were tested, none is shown to have lost more than the others. Most"
            f" beyond the overall drop lost “{name(worst)}”: {_excess(worst)}. That is no proof"
            " that nobody lost more: a difference within the interval would not have been found."
        )
    first = lost.iloc[0]
    text = (
        f"Of {among} that were tested, {len(lost):,} lost more than the others. Most lost"
        f" “{name(first)}”: from {percent(first['reference'])} to {percent(first['candidate'])},"
        f" beyond the overall drop {_excess(first)}."
    )
    if len(lost) > 1:
        others = [f"“{name(row)}”" for _, row in lost.iloc[1:].iterrows()]
        text += f" The others are {phrases.listing(others, 6)}."
    return text


def _excess(row: pd.Series) -> str:
    bounds = phrases.between(row["excess_low"], row["excess_high"], points)
    p = row["excess_p_adjusted"]
    equals = "" if p < 0.001 else "=" + SPACE
    return (
        f"{points(row['excess_drop'])} (n{SPACE}={SPACE}{row['n']:,}, 95{SPACE}% interval {bounds},"
        f" adjusted p{SPACE}{equals}{phrases.p_value(p)})"
    )


def _shown(audit: Audit, cells: pd.DataFrame) -> str:
    counts = cells["finding"].value_counts()
    margin = points(audit.settings.margin, 1)
    parts = [
        f"{counts[finding]:,} {says}"
        for finding, says in (
            ("no worse", f"are shown to lose less than {margin}"),
            ("lost", "are shown to have lost accuracy"),
            ("gained", "are shown to have gained"),
            ("data do not tell", "may have lost or gained: the data do not tell"),
            ("too few", f"have fewer than {audit.settings.least} examples and were not tested"),
            ("empty", "have no examples"),
        )
        if counts.get(finding, 0)
    ]
    if not parts:
        return ""
    return f"Of all {phrases.plural(len(cells), 'cell')}, {'; '.join(parts)}."


def _gaps(audit: Audit, measures: pd.DataFrame) -> str:
    unequal = measures["measure"].map(lambda name: phrases.about(name).of_inequality)
    spread = measures[unequal & measures["p_adjusted"].notna()]
    sure = spread[spread["p_adjusted"] < audit.settings.alpha]
    if sure.empty:
        return (
            f"None of {phrases.plural(len(spread), 'measure')} of inequality is shown to have"
            " changed."
        )
    told = []
    for _, row in sure.sort_values("p_adjusted").iterrows():
        form, shift = phrases.value_form(row["measure"]), phrases.change_form(row["measure"])
        whose = "" if row["attribute"] == CLASS else f" over {row['attribute']}"
        told.append(
            f"{phrases.label(row['measure'])}{whose} from {form(row['reference'])} to"
            f" {form(row['candidate'])} ({shift(row['change'])})"
        )
    return (
        f"Of {phrases.plural(len(spread), 'measure')} of inequality, {len(sure)} changed beyond"
        f" chance: {phrases.listing(told, 5)}."
    )


def _confidence(audit: Audit, candidate: str) -> str:
    rows = audit.calibration[audit.calibration["candidate_name"] == candidate]
    if rows.empty:
        return ""
    everyone, groups = rows.iloc[0], rows.iloc[1:]
    sure = everyone["p_adjusted"] < audit.settings.alpha
    text = (
        f"Confidence less accuracy was {points(everyone['reference'], sign='+')} and is"
        f" {points(everyone['candidate'], sign='+')}, a change"
        f" {'beyond chance' if sure else 'that the data do not tell from chance'}."
    )
    if groups.empty:
        return text
    changed = groups[groups["p_adjusted"] < audit.settings.alpha]
    if changed.empty:
        return f"{text} For no group is it shown to have changed."
    ordered = changed.sort_values("change", ascending=False)
    told = [f"“{name(row)}” by {points(row['change'], sign='+')}" for _, row in ordered.iterrows()]
    return f"{text} It changed beyond chance for {phrases.listing(told, 4)}."


def method(audit: Audit) -> list[str]:
    """How findings came about, for the end of a report."""
    s = audit.settings
    return [
        f"Both models were given the same {audit.n:,} examples, and every figure is paired. A drop"
        " is the reference's accuracy less the candidate's; an excess drop is what a cell lost"
        " beyond the overall drop.",
        f"There are {audit.tests:,} tests in this audit. Their p-values are adjusted together, by"
        " Holm's method, half of the level for measures and half for cells: if nothing had changed,"
        f" an audit would report anything at all in at most {percent(s.alpha, 0)} of cases. Flips"
        " have McNemar's exact test, excess drops a permutation test of which examples flipped,"
        " measures a test that swaps the models on half the examples. Intervals are not adjusted.",
        f"“No worse” means that a drop of {points(s.margin, 1)} or more was rejected; that no drop"
        " was found is not that. Intervals and tests by drawing use"
        f" {s.resamples:,} draws from seed {s.seed}.",
        "Intervals that are called “all cells at once” belong to ranges and extremes that do not"
        " stand out from what sampling alone makes of them; they are wide, and cover more often"
        " than they say.",
    ]


def ranking(audit: Audit) -> Sequence[str]:
    """A sentence for each candidate, in the order of the ranking; empty for a single one."""
    if len(audit.candidates) == 1:
        return []
    return [f"{i}. {c}: {headline(audit, c)}" for i, c in enumerate(audit.candidates, 1)]
