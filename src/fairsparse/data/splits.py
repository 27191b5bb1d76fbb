"""Which example goes to which split: stratified, seeded, by identity where identities are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fairsparse.core import InputError
from fairsparse.data.task import SPLITS

Ints: TypeAlias = npt.NDArray[np.int64]
Parts: TypeAlias = Mapping[str, Ints]
"""Split name -> ascending positions of its examples."""


Share: TypeAlias = Annotated[float, Field(gt=0, lt=0.5)]


@dataclass(frozen=True, eq=False)
class Assigned:
    """The split of each of N examples, and whose it is, as far as the data say so.

    Examples of one identity share a split; without splits all are of ``"train"``.
    """

    split: npt.NDArray[Any] | None = None
    identity: npt.NDArray[Any] | None = None

    @classmethod
    def official(cls, train: int, test: int) -> Assigned:
        """So many training examples, followed by so many of the official test split."""
        return cls(np.repeat(["train", "test"], [train, test]))

    def at(self, rows: npt.NDArray[np.int64]) -> Assigned:
        """The same for the examples at `rows` alone."""
        split, identity = (a if a is None else a[rows] for a in (self.split, self.identity))
        return Assigned(split, identity)


@dataclass(frozen=True)
class Held:
    """What is held out of a data set: the options that every set has.

    Parameters
    ----------
    test : float in (0, 0.5)
        Share of all examples.
    cal, val : float in (0, 0.5)
        Shares of the training split.
    seed : int
        Of the splits.
    limit : int, optional
        Use at most so many training examples, counted before cal and val.
    """

    test: Share = 0.2
    cal: Share = 0.1
    val: Share = 0.1
    seed: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1)] | None = None

    def divide(self, y: Ints, group: Ints, assigned: Assigned = Assigned()) -> dict[str, Ints]:
        """Divide N examples into train, cal, val and test, stratified by class and group.

        Splits that `assigned` names stay as they are; the others are drawn from ``train``: first
        the test split, then the subsample of `limit` examples, then cal and val from what is left.
        Within each class x group (an unknown group is a stratum of its own) the shares hold up to
        rounding, and between identities as nearly as their sizes allow. A stratum with more
        examples than parts to divide it into gives every part at least one; a smaller one stays in
        train. Positions in a split ascend. When `assigned` has no training example, or puts one
        identity into two splits, that is an `InputError`.
        """
        split, identity = assigned.split, assigned.identity
        part = np.full(len(y), "train") if split is None else np.array(split, dtype="<U5")
        present = set(part.tolist())
        if "train" not in present:
            raise InputError(
                f"the given splits ({', '.join(sorted(present))}) have no 'train' example;"
                " mark the examples to learn from as 'train'"
            )
        if identity is not None:
            _refuse_shared(part, identity)
        strata = strata_of(y, group)
        rng = np.random.default_rng(self.seed)

        def draw(*names: str) -> None:
            rows = np.flatnonzero(part == "train")
            who = None if identity is None else identity[rows]
            absent = [name for name in names if name not in present]
            codes = assign(strata[rows], [getattr(self, name) for name in absent], rng, who)
            part[rows] = np.array(["train", *absent])[codes]

        draw("test")
        if self.limit is not None:
            rows = np.flatnonzero(part == "train")
            part[np.delete(rows, subsample(strata[rows], self.limit, rng))] = "left"
        draw("cal", "val")
        return {name: np.flatnonzero(part == name) for name in SPLITS}


def strata_of(y: Ints, group: Ints) -> Ints:
    """Return the number of each example's class x group, (N,)."""
    return np.unique(np.stack([y, group]), axis=1, return_inverse=True)[1].reshape(-1)


def in_order(parts: Parts) -> Ints:
    """Return the positions of all splits' examples, one split after another."""
    return np.concatenate([parts[split] for split in SPLITS])


def assign(
    strata: Ints,
    shares: Sequence[float],
    rng: np.random.Generator,
    identity: npt.NDArray[Any] | None = None,
) -> Ints:
    """Return the part of each example, int64 (N,): ``1 .. P`` for the shares, 0 for the rest."""
    strata = np.unique(strata, return_inverse=True)[1]
    targets = np.array([allocate(int(n), shares) for n in np.bincount(strata)])  # (S, 1 + P)
    if identity is not None:
        return _by_identity(strata, targets, identity, rng)
    codes = np.zeros(len(strata), dtype=np.int64)
    for stratum, target in enumerate(targets):
        rows = rng.permutation(np.flatnonzero(strata == stratum))
        codes[rows] = np.repeat(np.arange(len(target)), target)
    return codes


def allocate(n: int, shares: Sequence[float]) -> list[int]:
    """Divide `n` into a rest and one count per share, the rest first.

    >>> allocate(50, (0.1, 0.2))
    [35, 5, 10]
    >>> allocate(3, (0.1, 0.1)), allocate(2, (0.1, 0.1))
    ([1, 1, 1], [2, 0, 0])
    """
    if n <= len(shares):
        return [n] + [0] * len(shares)
    taken = [max(1, int(share * n + 0.5)) for share in shares]
    while sum(taken) >= n:  # the rest, which is trained on, never ends up empty
        taken[taken.index(max(taken))] -= 1
    return [n - sum(taken), *taken]


def subsample(strata: Ints, limit: int, rng: np.random.Generator) -> Ints:
    """Return ascending positions of ``min(limit, N)`` examples, strata in proportion.

    Fractions of an example go to the strata with the largest remainders.
    """
    n = len(strata)
    if limit >= n:
        return np.arange(n)
    strata = np.unique(strata, return_inverse=True)[1]
    keep, remainder = np.divmod(np.bincount(strata) * limit, n)
    keep[np.argsort(-remainder, kind="stable")[: limit - keep.sum()]] += 1
    chosen = [rng.permutation(np.flatnonzero(strata == s))[:k] for s, k in enumerate(keep)]
    return np.sort(np.concatenate(chosen))


def _by_identity(
    strata: Ints, targets: Ints, identity: npt.NDArray[Any], rng: np.random.Generator
) -> Ints:
    # Largest identities first, each to the part where it lowers the sum of
    # (count - target)^2 / target over strata the most.
    who = np.unique(identity, return_inverse=True)[1]
    counts = np.zeros((who.max() + 1, len(targets)))  # (identities, S)
    np.add.at(counts, (who, strata), 1)
    order = rng.permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(1), kind="stable")]
    room = targets.astype(np.float64)  # (S, 1 + P)
    scale = np.maximum(room, 0.5)  # a target of 0 still has a finite price
    home = np.zeros(len(counts), dtype=np.int64)
    for i in order:
        n = counts[i][:, None]
        home[i] = np.argmin((n * (n - 2 * room) / scale).sum(0))
        room[:, home[i]] -= counts[i]
    return home[who]


def _refuse_shared(part: npt.NDArray[Any], identity: npt.NDArray[Any]) -> None:
    first: dict[Any, str] = {}
    for who, name in zip(identity.tolist(), part.tolist(), strict=True):
        if first.setdefault(who, name) != name:
            raise InputError(
                f"identity '{who}' is in the given splits '{first[who]}' and '{name}'; give each"
                " identity one split, or leave out the identity column"
            )
