"""Importance by the curvature of the loss, example by example: optimal brain damage.

Models are used in evaluation mode; their modes and gradients are left as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import grad, jacrev, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from fairsparse.core import Batch, InputError, LossFn, Scores
from fairsparse.masks.modes import call_with, evaluating

_NUMBERS = 2**25  # derivatives held at a time, which bounds memory

Values = dict[str, Tensor]


def fisher(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    batches: Sequence[Batch],
    loss: LossFn,
    shares: Sequence[Tensor] | None = None,
) -> Scores:
    """``w^2 h / 2`` (LeCun et al. 1989), with h the mean over examples of the squared gradient.

    h is the diagonal of the empirical Fisher information. The square is taken of each example's
    gradient: the square of a batch's gradient would mix examples.

    Parameters
    ----------
    weights : mapping
        Name -> parameter of `model`.
    loss : LossFn
        Of one example at a time.
    shares : sequence of Tensor (B,), optional
        For each batch, what its examples count, of either sign; h is then the weighted sum.

    Raises
    ------
    InputError
        When the model cannot be differentiated for one example alone.
    """

    def squared(values: Values, x: Tensor, y: Tensor, group: Tensor) -> Values:
        def value(values: Values) -> Tensor:
            batch = Batch(x[None], y[None], group[None])
            return loss(call_with(model, values, batch.x), batch)

        return {name: g.square() for name, g in grad(value)(values).items()}

    return _brain_damage(model, weights, batches, shares, squared, 1)


def gauss_newton(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    batches: Sequence[Batch],
    loss: LossFn,
    shares: Sequence[Tensor] | None = None,
) -> Scores:
    """``w^2 h / 2`` with h the exact diagonal of the generalized Gauss-Newton matrix.

    ``h_j = sum_cd J_cj B_cd J_dj``, averaged over examples, with J the Jacobian of the logits and
    B the Hessian of the loss in the logits. It is the Hessian's diagonal where the logits are
    linear in each weight. A backward pass for each example and class: for small networks.

    Parameters and errors are those of `fisher`.
    """

    def diagonal(values: Values, x: Tensor, y: Tensor, group: Tensor) -> Values:
        def logits(values: Values) -> Tensor:
            return call_with(model, values, x[None])[0]

        def value(z: Tensor) -> Tensor:
            return loss(z[None], Batch(x[None], y[None], group[None]))

        bend = jacrev(grad(value))(logits(values))
        return {
            name: (j * torch.tensordot(bend, j, 1)).sum(0)
            for name, j in jacrev(logits)(values).items()
        }

    with evaluating(model), torch.no_grad():
        classes = model(batches[0].x[:1]).shape[1]
    return _brain_damage(model, weights, batches, shares, diagonal, classes)


def _brain_damage(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    batches: Sequence[Batch],
    shares: Sequence[Tensor] | None,
    curvature: Callable[[Values, Tensor, Tensor, Tensor], Values],
    held: int,
) -> Scores:
    """Half of the squared weight times the curvature; `held` numbers a weight and example."""
    values = {name: w.detach() for name, w in weights.items()}
    total = {name: torch.zeros_like(w) for name, w in values.items()}
    at_once = max(1, _NUMBERS // (held * sum(w.numel() for w in values.values())))
    count = 1 if shares is not None else sum(len(batch.y) for batch in batches)
    if shares is None:
        shares = [torch.ones_like(batch.y, dtype=torch.float32) for batch in batches]
    # derivatives of fused attention cannot be taken side by side
    with evaluating(model), torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        for batch, share in _pieces(batches, shares, at_once):
            for name, part in _of_each(curvature, values, batch).items():
                total[name] += torch.tensordot(share.to(part.dtype), part, 1)
    return {name: w.square() * total[name] / (2 * count) for name, w in values.items()}


def _of_each(curvature: Callable[..., Values], values: Values, batch: Batch) -> Values:
    """The curvature of each example, side by side or, where the model forbids that, in turn."""
    try:
        return vmap(curvature, in_dims=(None, 0, 0, 0))(values, *batch)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        pass  # such as a forward that looks at the values of its inputs
    try:
        in_turn = [curvature(values, *row) for row in zip(*batch, strict=True)]
    except RuntimeError as error:
        raise InputError(
            "the criterion takes each example's own gradient, and the model has none"
            f" ({str(error).splitlines()[0]}); use criterion taylor or method fairgrape, which need"
            " batches alone"
        ) from None
    return {name: torch.stack([one[name] for one in in_turn]) for name in values}


def _pieces(
    batches: Sequence[Batch], shares: Sequence[Tensor], size: int
) -> Iterator[tuple[Batch, Tensor]]:
    for batch, share in zip(batches, shares, strict=True):
        parts = (t.split(size) for t in (*batch, share))
        for x, y, group, part in zip(*parts, strict=True):
            yield Batch(x, y, group), part
