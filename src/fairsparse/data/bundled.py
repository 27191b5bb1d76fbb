"""Data that come with a dependency and need no file."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from sklearn.datasets import load_digits

from fairsparse.data.builders import DATASETS, Count, Seed, Share, terms
from fairsparse.data.generic import Labels, assemble, in_order
from fairsparse.data.splits import Ints, divide
from fairsparse.data.task import Task

TEST_SHARE = 1 / 3  # about 60 of the 180 examples of each digit


@DATASETS.register("digits")
def digits(
    longtail: Annotated[float, Field(gt=0, le=1)] | None = None,
    cal: Share = 0.15,
    val: Share = 0.15,
    seed: Seed = 0,
    limit: Count | None = None,
) -> Task:
    """Handwritten digits, 1,797 images of 1x8x8 in 10 classes; ships with scikit-learn.

    About 60 examples per class are kept for test and 18 each for cal and val; the set has no
    official test split.

    Terms: UCI Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, 1998), CC BY 4.0;
    no groups are recorded.

    Parameters
    ----------
    longtail : float in (0, 1], optional
        Number of training examples of the last class as a share of the first class's; the classes
        between follow a geometric series. Test, cal and val are taken before the tail is made,
        with equally many examples of every class. Absent: classes as published.
    cal, val : float in (0, 0.5)
        Shares of the training split.
    seed : int
    limit : int, optional
        Use at most so many training examples, counted before cal, val and the tail.
    """
    bunch = load_digits()
    y = bunch.target.astype(np.int64)
    rng = np.random.default_rng(seed)
    if longtail is not None:
        even = np.sort(head(y, np.full(10, np.bincount(y).min()), rng))
        y, images = y[even], bunch.images[even]
    else:
        images = bunch.images
    labels = Labels.without_groups(y, [str(k) for k in range(10)])
    parts = divide(y, labels.group, cal=cal, val=val, test=TEST_SHARE, limit=limit, seed=seed)
    if longtail is not None:
        train = parts["train"]
        most = np.bincount(y[train], minlength=10).max()
        counts = np.round(most * longtail ** (np.arange(10) / 9)).astype(np.int64).clip(1)
        parts["train"] = np.sort(train[head(y[train], counts, rng)])
    x = torch.from_numpy(images.astype(np.uint8))[:, None]  # (N, 1, 8, 8), levels 0 .. 16
    return assemble("digits", x[in_order(parts)], labels, parts, terms(digits))


def head(y: Ints, counts: Ints, rng: np.random.Generator) -> Ints:
    """Return positions of ``counts[k]`` random examples of every class k, at most all it has."""
    chosen = [rng.permutation(np.flatnonzero(y == k))[:n] for k, n in enumerate(counts)]
    return np.concatenate(chosen)
