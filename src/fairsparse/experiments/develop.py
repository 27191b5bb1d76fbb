"""One model trained and pruned, and what it predicts before and after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

from fairsparse.checkpoint import Stages, digest
from fairsparse.core import Predictions
from fairsparse.data import Task
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.steering.spread import Spread, spread
from fairsparse.masks.selection import n_kept
from fairsparse.methods import Dense, Method, Outcome, Run, train_dense
from fairsparse.training import Progress, Recipe, Trainer

_STAGES = 2  # raise when what a stage computes changes, so that stored ones are not reused


@dataclass(frozen=True)
class Developed:
    """What came of a model.

    Attributes
    ----------
    trainer : Trainer
    dense : Dense
    dense_steps : int
    outcome : Outcome
    before, after : dict of Predictions
        Of the dense and the sparse network on the splits asked for, by name.
    reached : Spread
        Of the sparse network on validation.
    status : str
        The outcome's, or ``collapsed``.
    """

    trainer: Trainer
    dense: Dense
    dense_steps: int
    outcome: Outcome
    before: dict[str, Predictions]
    after: dict[str, Predictions]
    reached: Spread
    status: str


def develop(
    model: nn.Module,
    task: Task,
    method: Method,
    cells: Cells,
    recipe: Recipe,
    *,
    splits: Sequence[str],
    seed: int,
    stages: Stages,
    progress: Progress | None,
    siblings: Sequence[Method] = (),
) -> Developed:
    """Train, prune and check one model, which is changed and ends up in evaluation mode.

    Predictions are made on `splits`, ``val`` among them, and on no other split for the result's
    sake. `siblings` are methods that will take the same dense network from `stages`: the states
    that they need are stored with it, so that it is trained once.
    """
    # repr tells apart networks of equal weights: dropout rates, activations
    initial = digest(model.state_dict(), repr(model))
    parent = Stages.key(_STAGES, task.fingerprint, initial, recipe.key(), seed, cells.notion)
    trainer = Trainer(recipe, cells, seed, stages, parent, progress)
    with _repeatable(trainer.device):
        total = trainer.total_steps(task.train)
        wanted = set().union(*(m.snapshots(total) for m in (method, *siblings)))
        dense = train_dense(model, task.training, trainer, wanted)
        dense_steps = trainer.steps
        before = {name: trainer.predict(model, getattr(task, name)) for name in splits}
        outcome = method.run(Run(model, task.training, trainer, dense))
        verify(model, method, outcome)
        after = {name: trainer.predict(model, getattr(task, name)) for name in splits}
    model.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    model.eval()
    reached = spread(cells, after["val"])
    status = "collapsed" if guesses(reached, task.n_classes) else outcome.status
    return Developed(trainer, dense, dense_steps, outcome, before, after, reached, status)


@contextmanager
def _repeatable(device: torch.device) -> Iterator[None]:
    """Deterministic kernels and a random state of our own, both given back afterwards."""
    was = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        torch.use_deterministic_algorithms(was, warn_only=warned)


def verify(model: nn.Module, method: Method, outcome: Outcome) -> None:
    """Raise `RuntimeError` unless the method did what it was asked: counted, applied, nested."""
    masks = outcome.masks
    expected = n_kept(method.sparsity, masks.n_total)
    short = method.may_fall_short and outcome.status != "feasible"
    if masks.n_kept != expected and not short:
        raise RuntimeError(f"the method kept {masks.n_kept} weights, {expected} were asked for")
    if set(masks) != set(method.weights(model)):
        raise RuntimeError("the method's masks do not cover exactly the prunable weights")
    if not masks.is_applied(model):
        raise RuntimeError("the method returned masks that are not applied to the model")
    if not all(b <= a for a, b in pairwise(outcome.path)):
        raise RuntimeError("the method's rounds are not nested")


def guesses(reached: Spread, n_classes: int) -> bool:
    """Whether accuracy is within a fifth of what guessing among the classes gives."""
    return reached.accuracy <= 1.2 / n_classes
