"""Candidates on trial: how accurate each one is, what it costs someone, and which is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch

from fairsparse.core import Predictions
from fairsparse.fairness.steering.spread import objective, spread
from fairsparse.methods.safecompress.membership import attack_accuracy
from fairsparse.methods.stages import Run
from fairsparse.training import derive

Cost = Literal["fairness", "membership"]
Rule = Literal["ratio", "lexicographic"]
Test = Callable[[Predictions], float]
"""A network's predictions on cal -> what the network costs someone; lower is better."""

_LEAST = 0.01
_EXAMPLES = 2000


class Verdict(NamedTuple):
    """What a trial found.

    Attributes
    ----------
    accuracy : float
        P, on the calibration split.
    cost : float
        Q, of the chosen test.
    """

    accuracy: float
    cost: float


class Trial:
    """Judges the network of a run on the calibration split, against the dense network.

    Training, choices of a sparse network and their judgement stay apart: `train` is trained on,
    `cal` judges here, `val` is left for what is chosen at the end.

    Parameters
    ----------
    run : Run
        Its network is the dense one, which is only measured.
    cost : {"fairness", "membership"}
        Inequality over the run's cells, or the accuracy of a membership attack.
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
