"""A network whose weights and masks are both learned: weights below, scores of the masks above."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fairsparse.core import Scores
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.modes import call_with

ImplicitForm = Literal["derived", "released"]


class _Masked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, score: Tensor, mask: Tensor, implicit: float, form: ImplicitForm
    ) -> Tensor:
        ctx.save_for_backward(weight, score, mask)
        ctx.implicit, ctx.form = implicit, form
        return weight * mask

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        weight, score, mask = ctx.saved_tensors
        of_weight, of_score, *_ = ctx.needs_input_grad
        derived = ctx.implicit and ctx.form == "derived"
        through = grads[0] * mask if of_weight or derived else None
        slope = None
        if of_score:
            slope = weight * grads[0]
            if derived:
                slope.addcmul_(through, grads[0], value=-ctx.implicit)
            plain = slope.square() if ctx.implicit and not derived else None
            slope.mul_(score.sign())
            if plain is not None:
                slope.add_(plain, alpha=-ctx.implicit)
        return through if of_weight else None, slope, None, None, None


def masked(
    weight: Tensor,
    score: Tensor,
    mask: Tensor,
    implicit: float = 0.0,
    form: ImplicitForm = "derived",
) -> Tensor:
    """``z = mask * weight``, with the gradients of the two levels [1]_.

    With ``g = dL/dz``, the weight gets ``mask * g`` and the score

        ``sign(score) * (weight - implicit * mask * g) * g``,

    straight through the choice of the mask as if it were ``|score|``. The second part is how the
    weights, at the optimum of ``L(mask * weight) + |weight|^2 / (2 implicit)``, follow the mask,
    with the curvature of L in z left out. No second derivative and no second pass is needed.

    All are of one shape; the mask holds 0 and 1 in the weight's dtype. `implicit` is ``1 / gamma``;
    at 0 the gradient is that of edge-popup. Form ``released`` is that of the code which the authors
    of [1]_ released: it multiplies the two gradients of the score,
    ``sign(score) * weight * g - implicit * (weight * g)^2``.

    References
    ----------
    .. [1] Zhang et al., "Advancing Model Pruning via Bi-level Optimization", NeurIPS 2022,
       arXiv:2210.04092.
    """
    result: Tensor = _Masked.apply(weight, score, mask, implicit, form)
    return result


class Level(nn.Module):
    """One level as a module: its parameters are those of `trained`, and `compute` computes."""

    def __init__(self, trained: nn.Module, compute: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.trained, self._compute = trained, compute

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs (B, *f) to the model's outputs."""
        return self._compute(x)


class Bilevel:
    """`model` under masks that the absolute values of learned scores decide.

    The parameters `names` have masks, which `choose` makes of absolute scores.

    Attributes
    ----------
    lower : Level
        Chooses the masks of the present scores, and trains all parameters of `model` under them.
        Those that are masked get no gradient, and may return with the values they have.
    upper : Level
        Trains the scores, under the masks that `lower` chose last.
    scores : dict
        Name -> scores, of the weight's shape. They begin as the weights are.
    """

    def __init__(
        self,
        model: nn.Module,
        names: Iterable[str],
        choose: Callable[[Scores], MaskSet],
        implicit: float,
        form: ImplicitForm = "derived",
    ) -> None:
        self.model, self._choose = model, choose
        self.implicit, self.form = implicit, form
        parameters = dict(model.named_parameters())
        self.weights = {name: parameters[name] for name in names}
        self.scores = {n: nn.Parameter(w.detach().clone()) for n, w in self.weights.items()}
        self.factors: dict[str, Tensor] = {}
        self.lower = Level(model, self._lower)
        self.upper = Level(nn.ParameterList(self.scores.values()), self._upper)

    def masks(self) -> MaskSet:
        """The masks of the present scores."""
        return self._choose({name: score.detach().abs() for name, score in self.scores.items()})

    def _lower(self, x: Tensor) -> Tensor:
        for name, mask in self.masks().items():
            # in the weight's memory layout, which makes the products contiguous
            factor = torch.empty_like(self.weights[name], requires_grad=False)
            self.factors[name] = factor.copy_(mask)
        return self._run(self.weights, {n: s.detach() for n, s in self.scores.items()}, x)

    def _upper(self, x: Tensor) -> Tensor:
        parameters = {name: p.detach() for name, p in self.model.named_parameters()}
        return self._run(parameters, self.scores, x)

    def _run(
        self, parameters: Mapping[str, Tensor], scores: Mapping[str, Tensor], x: Tensor
    ) -> Tensor:
        used = dict(parameters)
        for name, score in scores.items():
            factor = self.factors[name]
            used[name] = masked(parameters[name], score, factor, self.implicit, self.form)
        result: Tensor = call_with(self.model, used, x)
        return result
