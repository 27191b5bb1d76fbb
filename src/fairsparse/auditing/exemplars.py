"""Compression-identified exemplars: the examples on which compressed networks part from dense ones.

One pair of networks differs on examples for many reasons; over several seeds, or checkpoints, those
remain on which the two kinds of networks disagree [1]_. Hard examples are told apart by any two
sets of networks. Whether compression has to do with it is seen by dealing the same networks into
the two kinds at random: a cell counts only where predictions moved further than they do then, and
where it has more exemplars than a draw of examples would put there.

References
----------
.. [1] Hooker et al., "What do compressed deep neural networks forget?", arXiv 1911.05248, and
   "Characterising bias in compressed models", arXiv 2010.03058.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse, stats

from fairsparse.auditing.examples import Examples
from fairsparse.auditing.inputs.labels import CLASS
from fairsparse.core import InputError
from fairsparse.fairness.inference.multiplicity import holm
from fairsparse.fairness.inference.paired import wilson
from fairsparse.fairness.measure.counts import Array, share

_SPLITS = 2_000
"""Ways of dealing networks into two kinds: all up to so many, else so many of them are drawn."""
_BLOCK = 2**23
"""Numbers held at once."""


@dataclass(frozen=True)
class Exemplars:
    """Which examples they are, and in whose cells they are more than chance puts there.

    ``examples`` has a row for each example, in order: its class ``y``, what most of the references
    and of the candidates predict and how large a share of them does, whether the two differ
    (``modal``), and the L1 distance of the two distributions of predictions (``taxicab``, 0 to 2).
    ``cells`` has a row for each cell: ``n``, modal ``exemplars``, their ``share`` with its
    interval, the ``ratio`` to the share among all others, and the mean taxicab ``distance``.

    ``p`` is the larger of two, as a cell has to stand out by networks and by examples: the share
    of the ways to deal the same networks into two kinds of these sizes in which distance in the
    cell, less that of all others, is as large; and Fisher's exact one that no more exemplars than
    elsewhere are expected in it. In ``p_adjusted`` the first is by the largest, standardised, of
    all cells, and the second by Holm. Both are NaN where there is nobody inside or outside.
    ``smallest_p`` is the smallest that either can be with so many networks.
    """

    examples: pd.DataFrame
    cells: pd.DataFrame
    smallest_p: float

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
    splits = _splits(len(references), len(candidates))
    cells, inside = _cells(table, examples, depth)
    moved = _moved([*references, *candidates], splits, inside)
    ways = _p_values(moved, cells["n"].to_numpy(), len(modal))
    drawn = _fisher(cells["exemplars"], cells["n"], modal)
    for name, one, other in zip(("p", "p_adjusted"), ways, (drawn, holm(drawn)), strict=True):
        cells[name] = np.maximum(one, other)
    return Exemplars(table, cells, 1 / len(splits))


def _distribution(models: Sequence[Array], classes: int) -> Array:
    """Share of the models that predict each class, (N, C); ties go to the first class."""
    n = len(models[0])
    counts = np.zeros((n, classes))
    for model in models:
        counts[np.arange(n), model] += 1
    return counts / len(models)


def _cells(
    table: pd.DataFrame, examples: Examples, depth: int
) -> tuple[pd.DataFrame, sparse.csr_array]:
    """The table of cells but for its p-values, and who is in each, (K, N)."""
    modal, moved = table["modal"].to_numpy(), table["taxicab"].to_numpy()
    classes = (examples.y, examples.class_names)
    total, everyone = int(modal.sum()), len(modal)
    frames: list[pd.DataFrame] = []
    places, members = [], []
    for attribute, (codes, names) in {CLASS: classes, **examples.crossed(depth)}.items():
        inside = np.flatnonzero(codes >= 0)
        n = np.bincount(codes[inside], minlength=len(names))
        hits, distance = (
            np.bincount(codes[inside], weights=x[inside], minlength=len(names))
            for x in (modal, moved)
        )
        bounds = wilson(hits, n)
        places.append(codes[inside] + sum(len(frame) for frame in frames))
        members.append(inside)
        frames.append(
            pd.DataFrame(
                {
                    "attribute": attribute,
                    "cell": names,
                    "n": n,
                    "exemplars": hits.astype(int),
                    "share": share(hits, n),
                    "share_low": bounds.low,
                    "share_high": bounds.high,
                    "ratio": share(share(hits, n), share(total - hits, everyone - n)),
                    "distance": share(distance, n),
                }
            )
        )
    cells = pd.concat(frames, ignore_index=True)
    at = (np.concatenate(places), np.concatenate(members))
    return cells, sparse.csr_array((np.ones(len(at[0])), at), shape=(len(cells), everyone))


def _splits(references: int, candidates: int) -> Array:
    """Which networks are called candidates, bool (S, networks); in the first row those that are.

    Of kinds of one size, calling each by the other's name moves nothing: it is no other split.
    """
    networks, fixed = references + candidates, int(references == candidates)
    if math.comb(networks - fixed, candidates) <= _SPLITS:
        others = reversed(range(fixed, networks))
        chosen = np.array(list(itertools.combinations(others, candidates)))
    else:
        drawn = np.random.default_rng(0).random((_SPLITS, networks)).argsort(1)[:, :candidates]
        chosen = np.vstack([np.arange(references, networks), drawn])
    splits = np.zeros((len(chosen), networks), bool)
    np.put_along_axis(splits, chosen, True, axis=1)
    return splits


def _moved(networks: Sequence[Array], splits: Array, inside: sparse.csr_array) -> Array:
    """How far predictions move, summed over each cell and, last, over everyone, (K + 1, S).

    That is the taxicab distance times the numbers of both kinds of networks: a whole number, so
    that splits which move predictions as far tie.
    """
    codes = np.stack(networks, axis=1)
    open_ = np.flatnonzero((codes != codes[:, :1]).any(1))
    everyone = sparse.csr_array(np.ones((1, len(codes))))
    inside = sparse.csc_array(sparse.vstack([inside, everyone]))
    local = _ranks(codes[open_])
    alike = np.argsort(local.max(1, initial=0), kind="stable")  # by how many classes they have
    open_, local = open_[alike], local[alike]
    after, candidates = splits.T.astype(np.float32), int(splits[0].sum())
    moved = np.zeros((inside.shape[0], len(splits)))
    rows = max(1, _BLOCK // (len(splits) * (1 + local.max(initial=0))))
    for start in range(0, len(open_), rows):
        some = local[start : start + rows]
        said = some[:, None] == np.arange(some.max() + 1)[:, None]  # (rows, classes, networks)
        shift = len(networks) * (said.astype(np.float32) @ after)
        shift -= candidates * said.sum(-1, keepdims=True, dtype=np.float32)
        distance = np.abs(shift, out=shift).sum(1, dtype=float)
        moved += inside[:, open_[start : start + rows]] @ distance
    return moved


def _ranks(codes: Array) -> Array:
    """Predictions (N, networks) as numbers from 0 of the classes that each example is given."""
    order = codes.argsort(1)
    steps = np.diff(np.take_along_axis(codes, order, 1), axis=1, prepend=0) != 0
    steps[:, :1] = False
    ranks = np.empty_like(codes)
    np.put_along_axis(ranks, order, steps.cumsum(1), axis=1)
    return ranks


def _p_values(moved: Array, n: Array, everyone: int) -> tuple[Array, Array]:
    """P-values of cells of `n` examples, alone and by the largest of all cells, each (K,)."""
    cells, total = moved[:-1], moved[-1]
    apart = share(cells, n[:, None]) - share(total - cells, everyone - n[:, None])
    scale = apart.std(1, keepdims=True)
    centred = apart - apart.mean(1, keepdims=True)
    z = np.divide(centred, scale, out=0 * centred, where=scale > 1e-9)
    least = z[:, :1] - 1e-9  # equal ones differ by rounding
    p = (z >= least).mean(1), (np.fmax.reduce(z, axis=0) >= least).mean(1)
    return tuple(np.where(np.isnan(apart[:, 0]), np.nan, x) for x in p)  # type: ignore[return-value]


def _fisher(hits: Any, n: Any, modal: Array) -> Array:
    """Chance (K,) of as many exemplars among the n examples of a cell, drawn from all; NaN if 0."""
    p = stats.hypergeom.sf(hits - 1, len(modal), modal.sum(), n)
    return np.where(n > 0, p, np.nan)
