"""Candidates on trial: how accurate each one is, what it costs someone, and which is kept.

One cost is membership inference: how well an attacker tells training examples from others. The
attack sees what a served model shows, the class probabilities, and knows the label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairsparse.core import Predictions
from fairsparse.fairness.steering.spread import objective, spread
from fairsparse.training import Run, derive

_HIDDEN = 64
_STEPS = 400
_BATCH = 64
_RATE = 1e-2
Cost = Literal["fairness", "membership"]
Rule = Literal["ratio", "lexicographic"]
Test = Callable[[Predictions], float]
"""A network's predictions on cal -> what the network costs someone; lower is better."""

_LEAST = 0.01
_EXAMPLES = 2000


class Verdict(NamedTuple):
    """What a trial found: accuracy P on the calibration split, and cost Q of the chosen test."""

    accuracy: float
    cost: float


class Trial:
    """Judges the network of a run on the calibration split, against the dense network.

    Training, choices of a sparse network and their judgement stay apart: `train` is trained on,
    `cal` judges here, `val` is left for what is chosen at the end. The run's network is the dense
    one at first, and only measured; a cost is inequality over the run's cells, or the accuracy of
    a membership attack.
    """

    def __init__(self, run: Run, cost: Cost) -> None:
        self.run = run
        dense = run.predict(run.data.cal)
        self.test = {"fairness": unequal, "membership": exposed}[cost](run, dense)
        self.dense = self._verdict(dense)

    def __call__(self) -> Verdict:
        """Measure the network as it is now, which is left as it was."""
        return self._verdict(self.run.predict(self.run.data.cal))

    def _verdict(self, held: Predictions) -> Verdict:
        accuracy = float((held.logits.argmax(1) == held.y).double().mean())
        return Verdict(accuracy, self.test(held))


def score(verdict: Verdict, dense: Verdict, weight: float) -> float:
    """``(P / P_dense) / (Q / Q_dense)^weight``; no cost counts as less than 0.01.

    >>> score(Verdict(0.8, 2.0), Verdict(0.8, 1.0), 1.0)
    0.5
    """
    relative = max(verdict.cost, _LEAST) / max(dense.cost, _LEAST)
    return verdict.accuracy / max(dense.accuracy, 1e-9) / relative**weight


def best(
    verdicts: Sequence[Verdict], dense: Verdict, rule: Rule, weight: float, tolerance: float
) -> int:
    """Index of the candidate to keep, the first of equals.

    ``ratio`` keeps the highest `score`; ``lexicographic`` the least cost among the candidates
    whose accuracy is within `tolerance` of the most accurate one's.
    """
    if rule == "ratio":
        ranks = [(-score(v, dense, weight), -v.accuracy) for v in verdicts]
    else:
        least = max(v.accuracy for v in verdicts) - tolerance
        # rounding must not exclude a candidate that is exactly `tolerance` behind
        ranks = [(v.cost if v.accuracy >= least - 1e-12 else torch.inf, 0.0) for v in verdicts]
    return min(range(len(ranks)), key=ranks.__getitem__)


def unequal(run: Run, dense: Predictions) -> Test:
    """Half the variance and half the range over the cells, each relative to the dense network."""
    reference = spread(run.cells, dense)
    return lambda held: objective(spread(run.cells, held), reference)[1]


def exposed(run: Run, dense: Predictions) -> Test:
    """Accuracy of a membership attack with up to 2,000 training and as many held-out examples.

    Every network is attacked on the same examples, from the same start.
    """
    data, trainer = run.data, run.trainer
    n = min(len(data.train), len(data.cal), _EXAMPLES)
    chosen = torch.randperm(len(data.train), generator=trainer.generator("members"))[:n]
    train = data.train.subset(chosen)
    others = torch.randperm(len(data.cal), generator=trainer.generator("others"))[:n]
    seed = derive(trainer.seed, "attack")

    def test(held: Predictions) -> float:
        unseen = Predictions(*(t[others] for t in held))
        return attack_accuracy(run.predict(train), unseen, seed)

    return test


def attack_accuracy(members: Predictions, others: Predictions, seed: int) -> float:
    """Accuracy of a black-box membership attack on examples it was not trained on, in [0.5, 1].

    A small network takes the softmax vector and the one-hot label. It is trained on a random half
    of the examples and measured on the other half, where members and others weigh the same; an
    attack worse than guessing counts as guessing. The seed decides the halves, the attack's first
    weights and its order of examples.

    The predictions are of one model, on examples that it was trained on and on examples that it
    never saw; at least two of each, or it is a `ValueError`. Equal numbers make the training
    balanced.
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
