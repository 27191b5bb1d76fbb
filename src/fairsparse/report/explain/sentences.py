"""What an explanation shows, in sentences that claim no more than that."""

from __future__ import annotations

from typing import Any

import pandas as pd

from fairsparse.explain.agreement import ALL, LEAST
from fairsparse.explain.explanation import PRUNED, RANDOM, Explanation
from fairsparse.report import phrases
from fairsparse.report.phrases import between, number


def paragraphs(explanation: Explanation) -> list[str]:
    """How alike the maps are, for whom least, who was lost, and whether a valley is between."""
    cells = explanation.agreement.cells
    texts = [_alike(explanation)]
    texts += [text for kind in ("class", "group") if (text := _lowest(cells, kind))]
    flips = phrases.plural(explanation.flips, "test example")
    below = f"; {len(explanation.shown)} of them are below" if explanation.shown else ""
    texts.append(f"The dense network gets {flips} right that the pruned network gets wrong{below}.")
    if line := explanation.line:
        texts.append(
            "On the straight line between the two pruned networks the validation loss rises at"
            f" most {number(line.barrier, '.3f')} above the line between its ends, and the"
            f" error {phrases.points(line.error_barrier)}."
        )
    return texts


def _alike(explanation: Explanation) -> str:
    cells = explanation.agreement.cells
    overall = cells[cells["attribute"] == ALL].set_index("network")
    pruned, random = (overall.loc[name].to_dict() for name in (PRUNED, RANDOM))
    text = (
        f"Over {phrases.plural(int(pruned['n']), 'sampled test example')}, heat maps of the pruned"
        f" network correlate {_with(pruned)} with those of the dense network; those of the dense"
        f" network under a random mask of the same sparsity {_with(random)}."
    )
    value, low, high = explanation.difference[:3]
    if phrases.defined(low):
        if low > 0:
            text += " The pruned network's are nearer, by "
        elif high < 0:
            text += " Those under the random mask are nearer, by "
            value, low, high = -value, -high, -low
        else:
            text += " The data do not tell which are nearer: the difference is "
        text += f"{_two(value)} ({between(low, high, _two)})."
    flat = [int(row["constant"]) for row in (pruned, random)]
    if any(flat):
        text += (
            " A map that is the same everywhere, or a dense network's that is, has no correlation"
            f" and is left out of the mean: {flat[0]:,} examples of the pruned network's,"
            f" {flat[1]:,} of those under the random mask."
        )
    return text


def _with(row: dict[str, Any]) -> str:
    if not phrases.defined(row["correlation"]):
        return f"by an {phrases.UNDEFINED} amount"
    text = f"by {_two(row['correlation'])} on average"
    return f"{text} ({phrases.interval(row, _two)})" if phrases.defined(row["low"]) else text


def _two(value: phrases.Number) -> str:
    return number(value, ".2f")


def _lowest(cells: pd.DataFrame, kind: str) -> str:
    """The lowest and the highest cell of a kind, of those with an interval."""
    mine = cells[(cells["network"] == PRUNED) & (cells["attribute"] == kind)]
    sure = mine[mine["low"].notna()].sort_values("correlation", kind="stable")
    if len(sure) < 2:
        return ""
    low, high = sure.iloc[0].to_dict(), sure.iloc[-1].to_dict()
    text = (
        f"By {kind}, of {len(sure)}, the correlation is lowest for “{low['cell']}”"
        f" ({_two(low['correlation'])}, n = {low['n']:,}) and highest for “{high['cell']}”"
        f" ({_two(high['correlation'])}, n = {high['n']:,}); "
    )
    return text + f"their intervals {'' if low['high'] >= high['low'] else 'do not '}overlap."


def method(explanation: Explanation) -> list[str]:
    """How the maps and numbers came about."""
    return [
        f"{explanation.method}. For every example all three networks are asked about the same"
        " class, the one that the dense network predicts: maps of different classes would differ"
        " because the question does.",
        "The random mask keeps as many of the dense network's weights as the method did, drawn"
        " uniformly over all prunable ones; neither weights nor BatchNorm are trained afterwards,"
        " while the pruned network was. It shows how far sparsity alone moves a map.",
        "The number is Pearson's correlation of two maps of one example, and a mean over examples."
        " The sample has equally many examples of each class within each group, and all of smaller"
        " ones; means count each example as often as it stands for others. Intervals are"
        f" bootstrap-t over examples; a cell of fewer than {LEAST} examples has none. They are not"
        " adjusted for the number of cells.",
        "A heat map is a rough sketch of what a network uses, and two methods can draw it"
        " differently. That maps agree does not show that predictions do, and that they differ does"
        " not show that either is wrong.",
    ]
