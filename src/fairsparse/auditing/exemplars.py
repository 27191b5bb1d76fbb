"""Compression-identified exemplars: the examples on which compressed networks part from dense ones.

One pair of networks differs on examples for many reasons; over several seeds, or checkpoints, those
remain on which the two kinds of networks disagree [1]_.

References
----------
.. [1] Hooker et al., "What do compressed deep neural networks forget?", arXiv 1911.05248, and
   "Characterising bias in compressed models", arXiv 2010.03058.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from fairsparse.auditing.examples import Examples
from fairsparse.auditing.inputs.labels import CLASS
from fairsparse.core import InputError
from fairsparse.fairness.inference.multiplicity import holm
from fairsparse.fairness.inference.paired import wilson
from fairsparse.fairness.measure.counts import Array, share


@dataclass(frozen=True)
class Exemplars:
    """Which examples they are, and in whose cells they are more than chance puts there.

    ``examples`` has a row for each example, in order: its class ``y``, what most of the references
    and of the candidates predict and how large a share of them does, whether the two differ
    (``modal``), and the L1 distance of the two distributions of predictions (``taxicab``, 0 to 2).
    ``cells`` has a row for each cell: ``n``, modal ``exemplars``, their ``share`` with its
    interval, the ``ratio`` to the share among all others, and the exact ``p`` (Fisher's) that it is
    1, with Holm's adjustment over all cells.
    """

    examples: pd.DataFrame
    cells: pd.DataFrame

    def top(self, k: int = 20) -> pd.DataFrame:
        """The `k` examples whose predictions moved most, modal ones first."""
        moved = self.examples.sort_values(["modal", "taxicab"], ascending=False, kind="stable")
        return moved.head(k)


def exemplars(
    references: Sequence[Any],
    candidates: Sequence[Any],
    y: Any,
    *,
    groups: Any = None,
    class_names: Sequence[str] | None = None,
    depth: int = 2,
) -> Exemplars:
    """Find the examples on which candidates, as a population, part from references.

    Parameters
    ----------
    references, candidates : sequence of array-like, each (N,) or (N, C)
        Predicted classes, or scores, of each network; some of either, 30 in the source.
    y, groups, class_names, depth
        As for `audit`.

    Raises
    ------
    InputError
        Without networks, and as `audit` does.

    Examples
    --------
    >>> result = exemplars([[0, 0], [0, 0], [1, 0]], [[1, 0], [1, 0], [1, 0]], [0, 0])
    >>> result.examples["modal"].tolist(), result.examples["taxicab"].round(2).tolist()
    ([True, False], [1.33, 0.0])
    """
    kinds = {"reference": references, "candidate": candidates}
    for kind, models in kinds.items():
        if len(models) == 0:
            raise InputError(f"there is no {kind}; give the predictions of at least one network")
    outputs = {f"{kind} {i}": m for kind, models in kinds.items() for i, m in enumerate(models)}
    examples, codes, _ = Examples.of(y, outputs, groups, class_names, every=True)
    before, after = list(codes.values())[: len(references)], list(codes.values())[len(references) :]
    return exemplars_codes(before, after, examples, depth)


def exemplars_codes(
    references: Sequence[Array], candidates: Sequence[Array], examples: Examples, depth: int = 2
) -> Exemplars:
    """Find exemplars of predicted classes given as codes, each (N,); `exemplars` is for arrays."""
    names = examples.class_names
    before, after = (_distribution(m, len(names)) for m in (references, candidates))
    most = [shares.argmax(1) for shares in (before, after)]
    modal = most[0] != most[1]
    labels = np.array(names, dtype=object)
    table = pd.DataFrame(
        {
            "y": labels[examples.y],
            "reference": labels[most[0]],
            "reference_share": before.max(1),
            "candidate": labels[most[1]],
            "candidate_share": after.max(1),
            "modal": modal,
            "taxicab": np.abs(before - after).sum(1),
        }
    )
    return Exemplars(table, _cells(modal, examples, depth))


def _distribution(models: Sequence[Array], classes: int) -> Array:
    """Share of the models that predict each class, (N, C); ties go to the first class."""
    n = len(models[0])
    counts = np.zeros((n, classes))
    for model in models:
        counts[np.arange(n), model] += 1
    return counts / len(models)


def _cells(modal: Array, examples: Examples, depth: int) -> pd.DataFrame:
    classes = (examples.y, examples.class_names)
    total, everyone = int(modal.sum()), len(modal)
    frames = []
    for attribute, (codes, names) in {CLASS: classes, **examples.crossed(depth)}.items():
        inside = codes >= 0
        n = np.bincount(codes[inside], minlength=len(names))
        hits = np.bincount(codes[inside & modal], minlength=len(names))
        bounds = wilson(hits, n)
        others = share(total - hits, everyone - n)
        p = [_fisher(int(h), int(m), total, everyone) for h, m in zip(hits, n, strict=True)]
        frames.append(
            pd.DataFrame(
                {
                    "attribute": attribute,
                    "cell": names,
                    "n": n,
                    "exemplars": hits,
                    "share": share(hits, n),
                    "share_low": bounds.low,
                    "share_high": bounds.high,
                    "ratio": share(share(hits, n), others),
                    "p": p,
                }
            )
        )
    cells = pd.concat(frames, ignore_index=True)
    cells["p_adjusted"] = holm(cells["p"].to_numpy(float))
    return cells


def _fisher(hits: int, n: int, total: int, everyone: int) -> float:
    if n == 0:
        return float("nan")
    table = [[hits, n - hits], [total - hits, everyone - n - total + hits]]
    return float(stats.fisher_exact(table).pvalue)
