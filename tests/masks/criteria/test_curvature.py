"""Optimal brain damage where the curvature is known, and against loops over examples."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from fairsparse.core import Batch, InputError
from fairsparse.masks.criteria import curvature
from fairsparse.masks.criteria.curvature import fisher, gauss_newton
from fairsparse.masks.maskset import prunable
from toys import batches, loss, norm_net, together


def gaussian(logits: Tensor, batch: Batch) -> Tensor:
    """Negative log-likelihood of a Gaussian of variance 1, up to a constant."""
    return (logits[:, 0] - batch.y).square().mean() / 2


def linear_gaussian() -> tuple[nn.Linear, list[Batch]]:
    """Two inputs; w = (2, -1). Outputs 2, -1, 1, 4 and targets 3, -2, 0, 5: residuals of size 1."""
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[2.0, -1.0]]))
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [3.0, 2.0]])
    y, group = torch.tensor([3, -2, 0, 5]), torch.zeros(4, dtype=torch.int64)
    return model, [Batch(x[:3], y[:3], group[:3]), Batch(x[3:], y[3:], group[3:])]


@pytest.mark.parametrize("scorer", [fisher, gauss_newton])
def test_a_linear_gaussian_model(scorer: object) -> None:
    """h = mean x^2 = (11/4, 6/4); w^2 h / 2 = (5.5, 0.75). Residuals of 1 make both agree."""
    assert callable(scorer)
    model, parts = linear_gaussian()
    scores = scorer(model, {"weight": model.weight}, parts, gaussian)
    torch.testing.assert_close(scores["weight"], torch.tensor([[5.5, 0.75]]))


def test_the_squares_of_examples_not_of_the_batch() -> None:
    """Two examples whose gradients cancel still have curvature."""
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    batch = Batch(torch.tensor([[1.0], [1.0]]), torch.tensor([0, 2]), torch.zeros(2).long())
    scores = fisher(model, {"weight": model.weight}, [batch], gaussian)
    assert scores["weight"].tolist() == [[0.5]]


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_fisher_against_a_loop_over_examples(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    model = norm_net().eval()
    weights = prunable(model, first=True)
    monkeypatch.setattr(curvature, "_NUMBERS", at_once * sum(w.numel() for w in weights.values()))
    whole = together(batches())
    total = {name: torch.zeros_like(w) for name, w in weights.items()}
    for i in range(len(whole.y)):
        one = Batch(*(column[i : i + 1] for column in whole))
        for name, g in zip(
            weights,
            torch.autograd.grad(loss(model(one.x), one), list(weights.values())),
            strict=True,
        ):
            total[name] += g.square()
    scores = fisher(model, weights, batches(), loss)
    for name, w in weights.items():
        torch.testing.assert_close(
            scores[name], (w.square() * total[name]).detach() / (2 * len(whole.y))
        )


def test_gauss_newton_is_the_hessian_where_logits_are_linear() -> None:
    torch.manual_seed(1)
    model = nn.Linear(4, 3)
    whole = together(batches(shape=(4,)))

    def value(flat: Tensor) -> Tensor:
        return loss(functional_call(model, {"weight": flat.view(3, 4)}, (whole.x,)), whole)

    flat = model.weight.detach().flatten()
    expected = flat.square() * torch.autograd.functional.hessian(value, flat).diagonal() / 2
    scores = gauss_newton(model, {"weight": model.weight}, batches(shape=(4,)), loss)
    torch.testing.assert_close(scores["weight"].flatten(), expected)


def test_gauss_newton_of_cross_entropy_by_its_closed_form() -> None:
    """B = diag(p) - p p', so h_j = sum_c p_c J_cj^2 - (sum_c p_c J_cj)^2."""
    model = norm_net().eval()
    weights = {"3.weight": dict(model.named_parameters())["3.weight"]}
    whole = together(batches())
    total = torch.zeros_like(weights["3.weight"])
    for x in whole.x:
        z = model(x[None])[0]
        p = z.softmax(0)
        rows = [
            torch.autograd.grad(z[c], weights["3.weight"], retain_graph=True)[0] for c in (0, 1, 2)
        ]
        jacobian = torch.stack(rows)
        mean = torch.tensordot(p, jacobian, 1)
        total += (torch.tensordot(p, jacobian.square(), 1) - mean.square()).detach()
    scores = gauss_newton(model, weights, batches(), loss)["3.weight"]
    w = weights["3.weight"].detach()
    torch.testing.assert_close(scores, w.square() * total / (2 * len(whole.y)))
    assert bool((scores > 0).any())


@pytest.mark.parametrize("scorer", [fisher, gauss_newton])
def test_a_model_that_cannot_be_run_side_by_side_is_run_in_turn(scorer: Any) -> None:
    class Layer(nn.Module):
        def __init__(self, branching: bool) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer, self.branching = nn.Linear(4, 3), branching

        def forward(self, x: Tensor) -> Tensor:
            if self.branching and x.sum() > 99:
                return self.layer(-x)
            return self.layer(x)

    found = []
    for branching in (False, True):
        model = Layer(branching)
        weights = {"layer.weight": model.layer.weight}
        found.append(scorer(model, weights, batches(shape=(4,)), loss)["layer.weight"])
    torch.testing.assert_close(*found)
    assert bool(found[0].any())


def test_a_model_without_gradients_of_examples_is_refused() -> None:
    class Detached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.inv(torch.zeros(3, 3)) @ self.layer(x).T

    model = Detached()
    with pytest.raises(InputError, match=r"has none .*use criterion taylor"):
        fisher(model, {"layer.weight": model.layer.weight}, batches(shape=(4,)), loss)


@pytest.mark.parametrize("scorer", [fisher, gauss_newton])
@pytest.mark.parametrize("at_once", [1, 100])
def test_examples_may_count_differently_and_against(
    monkeypatch: pytest.MonkeyPatch, scorer: object, at_once: int
) -> None:
    """The last batch against the others: three examples' mean less half of the last one's."""
    assert callable(scorer)
    model, parts = linear_gaussian()
    monkeypatch.setattr(curvature, "_NUMBERS", at_once * 2)
    shares = [torch.full((3,), 1 / 3), torch.tensor([-0.5])]
    scores = scorer(model, {"weight": model.weight}, parts, gaussian, shares)
    # h = (2/3, 2/3) - (9, 4) / 2, times w^2 / 2 = (2, 1/2)
    torch.testing.assert_close(scores["weight"], torch.tensor([[-23 / 3, -2 / 3]]))
