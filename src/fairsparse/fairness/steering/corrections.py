"""Corrections after training that cost nothing, and that every comparison must beat.

Class offsets fold into the last bias; a threshold of its own for each group has to know everyone's
group.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fairsparse.core import InputError, Predictions
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.steering.penalties import gap_loss

_SHARPNESS = 3.0
_STEPS = 150


def fit_offsets(predictions: Predictions, cells: Cells, strength: float) -> Tensor:
    """Offsets to add to the logits, shape (C,), centred.

    Minimizes ``-mean p_true + strength * variance of the cells' soft statistic``, with a strength
    of at least 0, over held-out predictions, with a softmax sharpened threefold so that soft
    accuracy follows accuracy. In a network they fold into the last bias, at no cost at inference.
    """
    logits, y, group = predictions
    index = cells.index(y, group)
    offsets = torch.zeros(logits.shape[1], requires_grad=True)
    optimizer = torch.optim.Adam([offsets], lr=0.05)
    scale = logits.float().std().clamp_min(1e-6) / 3
    for step in range(_STEPS):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / _STEPS)
        shifted = (logits + offsets * scale) * _SHARPNESS
        p_true = shifted.softmax(1).gather(1, y[:, None]).mean()
        means = cells.means(cells.soft(shifted, y), index)
        loss = -p_true + strength * gap_loss(means, cells.families, "var")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    result = offsets.detach() * scale
    return result - result.mean()


def check_thresholds(cells: Cells, cal: tuple[Tensor, Tensor]) -> None:
    """Raise `InputError` unless thresholds can be fitted to labels and groups (N,) of a task."""
    classes, groups = cells.class_names, cells.group_names
    if len(classes) != 2 or len(groups) < 2:
        raise InputError(
            f"thresholds are for 2 classes and at least 2 groups, the task has {len(classes)} and"
            f" {len(groups)}; leave thresholds out of controls"
        )
    y, group = cal
    for g, name in enumerate(groups):
        if len(y[group == g].unique()) < 2:
            raise InputError(
                f"thresholds need both classes of every group in the cal split, and group '{name}'"
                " has fewer; use a larger cal share, or leave thresholds out of controls"
            )
    if find_spec("fairlearn") is None:
        raise InputError(
            "thresholds are fitted by fairlearn, which is not installed; run"
            ' pip install "fairsparse[posthoc]", or leave thresholds out of controls'
        )


def fit_thresholds(cal: Predictions, cells: Cells, seed: int) -> Callable[[Predictions], Tensor]:
    """Fit thresholds to held-out predictions; return the function that applies them.

    For each group a threshold, or two of which one is drawn for each example [1]_, with the highest
    accuracy among those that meet the notion's `constraint` on `cal`, where every group has both
    classes. The function maps predictions to classes, int64 (N,), and draws the same for the same
    `seed`, at least 0; an example whose group is unknown keeps its class.

    References
    ----------
    .. [1] Hardt, Price and Srebro, "Equality of Opportunity in Supervised Learning", NeurIPS 2016,
       arXiv:1610.02413; as in fairlearn's ThresholdOptimizer.
    """
    from fairlearn.postprocessing import ThresholdOptimizer
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Scores(ClassifierMixin, BaseEstimator):
        """A classifier whose input is its decision already."""

        def fit(self, x: Any, y: Any) -> Scores:
            return self

        def __sklearn_is_fitted__(self) -> bool:
            return True

        def decision_function(self, x: Any) -> Any:
            return np.asarray(x)[:, 0]

    named = cal.group >= 0
    optimizer = ThresholdOptimizer(
        estimator=Scores(),
        constraints=cells.definition.constraint,
        objective="accuracy_score",
        prefit=True,
        predict_method="decision_function",
    )
    optimizer.fit(
        _margins(cal)[named.numpy()], cal.y[named].numpy(), sensitive_features=cal.group[named]
    )

    def apply(predictions: Predictions) -> Tensor:
        classes = predictions.logits.argmax(1)
        drawn = optimizer.predict(
            _margins(predictions), sensitive_features=predictions.group, random_state=seed % 2**32
        )
        return torch.where(predictions.group >= 0, torch.from_numpy(np.asarray(drawn)), classes)

    return apply


def _margins(predictions: Predictions) -> Any:
    logits = predictions.logits.double()
    return (logits[:, 1:] - logits[:, :1]).numpy()
