"""Membership inference: how well an attacker tells training examples from others.

The attack sees what a served model shows, the class probabilities, and knows the label [1]_.

References
----------
.. [1] Zhu et al., "Safety and Performance, Why not Both? Bi-Objective Optimized Model Compression
   toward AI Software Deployment", ASE 2022, arXiv:2208.05969.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairsparse.core import Predictions

_HIDDEN = 64
_STEPS = 400
_BATCH = 64
_RATE = 1e-2


def attack_accuracy(members: Predictions, others: Predictions, seed: int) -> float:
    """Accuracy of a black-box membership attack on examples it was not trained on, in [0.5, 1].

    A small network takes the softmax vector and the one-hot label. It is trained on a random half
    of the examples and measured on the other half, where members and others weigh the same; an
    attack worse than guessing counts as guessing.

    Parameters
    ----------
    members, others : Predictions
        Of one model, on examples that it was trained on and on examples that it never saw; at
        least two of each. Equal numbers make the attack's training balanced.
    seed : int
        Decides the halves, the attack's first weights and its order of examples.

    Raises
    ------
    ValueError
        With fewer than two members or others.
    """
    if min(len(members.y), len(others.y)) < 2:
        raise ValueError(
            f"an attack needs 2 members and 2 others, got {len(members.y)} and {len(others.y)}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        (x, test_x), (y, test_y) = _halves(members, others)
        attack = nn.Sequential(
            nn.Linear(x.shape[1], _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, 1), nn.Flatten(0)
        )
        optimizer = torch.optim.Adam(attack.parameters(), _RATE)
        for _ in range(_STEPS):
            index = torch.randint(len(y), (_BATCH,))
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(attack(x[index]), y[index]).backward()
            optimizer.step()
    with torch.no_grad():
        right = ((attack(test_x) > 0) == (test_y > 0)).double()
    balanced = (right[test_y > 0].mean() + right[test_y == 0].mean()) / 2
    return max(0.5, float(balanced))


def _halves(members: Predictions, others: Predictions) -> tuple[list[Tensor], list[Tensor]]:
    """Features (n, 2C) and membership (n,) to train the attack on, and to measure it on."""
    x: list[list[Tensor]] = [[], []]
    y: list[list[Tensor]] = [[], []]
    for label, (logits, true, _) in ((1.0, members), (0.0, others)):
        features = torch.cat([logits.softmax(1), F.one_hot(true, logits.shape[1])], 1)
        order = torch.randperm(len(true))
        for i, index in enumerate(order.tensor_split(2)):
            x[i].append(features[index])
            y[i].append(torch.full((len(index),), label))
    return [torch.cat(part) for part in x], [torch.cat(part) for part in y]
