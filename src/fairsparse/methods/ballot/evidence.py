"""What Ballot measures before it decides: conflict batches, cell batches, stable rewind points."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from fairsparse.core import Batch, LossFn, Scores
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.steering.penalties import (
    FairLoss,
    gap_loss,
    streaming_weights,
    weighted_sum,
)
from fairsparse.masks.criteria import scorers
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.modes import evaluating
from fairsparse.methods.ballot import conflict
from fairsparse.methods.ballot.settings import Importance, Selection
from fairsparse.training import Round, Run, State, cross_entropy, state_of

_BATCH = 64
_CELL_BATCH, _CELL_BATCHES = 16, 4
_WEAK = 0.1
_STABLE = 0.02
_RECALIBRATE = 20


def importance(kind: Importance, run: Run, weights: Mapping[str, Tensor]) -> Scores:
    """What each weight is worth by itself; ``fair`` asks the weak cells most, ``taylor`` all."""
    if kind in ("magnitude", "lamp"):
        return getattr(scorers, kind)(weights)
    batches = cell_batches(run, favour_weak=kind == "fair")
    return scorers.tempered(weights, scorers.taylor(run.model, weights, batches, cross_entropy))


def conflict_points(
    run: Run, names: Collection[str], parent: Round, how: Selection
) -> list[dict[str, conflict.Layer]]:
    """Gradients of accuracy and of the gap at each stored point of the parent round, in order.

    In all, `conflict_share` of the training split's size is measured, at least 64 images a point:
    random calibration examples, other ones at each point.
    """
    cal, trainer = run.data.cal, run.trainer
    images = max(64, round(how.conflict_share * len(run.data.train) / len(parent.points)))
    probe = copy.deepcopy(run.model)
    parameters = dict(probe.named_parameters())
    weights = {name: parameters[name] for name in names}
    measured = []
    for step, state in sorted(parent.points.items()):
        probe.load_state_dict(state)
        order = torch.randperm(len(cal), generator=trainer.generator("conflict", step))
        batches = [trainer.to_device(cal.batch(i)) for i in order[:images].split(_BATCH)]
        other = fair_loss(probe, batches, run.cells, how.fair_loss)
        measured.append(
            conflict.measure(probe, weights, batches, cross_entropy, other, parent.masks)
        )
    return measured


def fair_loss(model: nn.Module, batches: Sequence[Batch], cells: Cells, kind: FairLoss) -> LossFn:
    """A loss whose sum over `batches` has the gradient of the gap over all of them.

    The weights are scaled to at most 1; only directions matter for conflict.
    """
    with evaluating(model), torch.no_grad():
        values = torch.cat([cells.soft(model(batch.x), batch.y) for batch in batches])
    index = torch.cat([cells.index(batch.y, batch.group) for batch in batches])
    total, counts = cells.sums(values, index)
    families = cells.families.to(total.device)
    weights = streaming_weights(partial(gap_loss, kind=kind), total / counts, counts, families)
    weights = weights / weights.abs().max().clamp_min(1e-30)
    return lambda logits, batch: weighted_sum(weights, cells, logits, batch.y, batch.group)


def cell_batches(run: Run, favour_weak: bool) -> Iterator[tuple[Batch, float]]:
    """Four batches of 16 examples of each cell, with its weight; the weights sum to 1.

    With `favour_weak` a cell's weight falls with its soft accuracy ``s_k`` as
    ``exp(-(s_k - mean s)/0.1)``; without, all cells weigh the same.
    """
    cells, cal = run.cells, run.data.cal
    drawn = dict(run.cell_batches(_CELL_BATCHES, _CELL_BATCH, "importance"))
    share = torch.full((len(drawn),), 1 / len(drawn))
    if favour_weak:
        soft, index = cells.soft(run.predict(cal).logits, cal.y), cells.index(cal.y, cal.group)
        means = cells.means(soft, index)[list(drawn)]
        share = torch.softmax(-(means - means.mean()) / _WEAK, 0)
    for weight, batches in zip(share.tolist(), drawn.values(), strict=True):
        yield from ((batch, weight / _CELL_BATCHES) for batch in batches)


def stable_rewind(run: Run, masks: MaskSet, candidates: Sequence[int]) -> int:
    """First candidate step from which training is stable to data order (arXiv:1912.05671).

    From each candidate the masked network is trained twice for a fifth of the schedule with
    different data orders; it is stable when the validation error on the straight line between the
    two, BatchNorm recalibrated at each of 11 points, rises less than 2 points above the mean of
    its ends. The last candidate is returned when none is stable.
    """
    total = run.dense.total
    for step in candidates:
        ends = []
        for order in ("order a", "order b"):
            run.model.load_state_dict(run.dense.states[step])
            stop = min(total, step + total // 5)
            loop = run.loop(f"rewind search {step}", masks, step, stop)
            loop.order = order
            loop.finish()
            ends.append(state_of(run.model))
        errors = line_errors(run, ends[0], ends[1])
        if max(errors) - (errors[0] + errors[-1]) / 2 < _STABLE:
            return step
    return candidates[-1]


def line_errors(run: Run, a: State, b: State, points: int = 11) -> list[float]:
    """Validation error at evenly spaced points of the straight line from `a` to `b`."""
    data, shares = run.data, torch.linspace(0, 1, points).tolist()
    line = run.trainer.along(run.model, (a, b), shares, data.val, data.train, _RECALIBRATE)
    return [float((logits.argmax(1) != y).double().mean()) for logits, y, _ in line]
