"""Scores against naive formulas and autograd by hand, and no traces left in the model."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fairsparse.core import Batch, Scores
from fairsparse.masks.criteria.scorers import lamp, magnitude, random, taylor, tempered
from fairsparse.masks.maskset import prunable
from fairsparse.methods.ballot import conflict
from fairsparse.methods.ballot.settings import Selection


def loss(logits: Tensor, batch: Batch) -> Tensor:
    return cross_entropy(logits, batch.y)


def batches(n: int = 3, size: int = 4, shape: tuple[int, ...] = (2, 5, 5)) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    return [
        Batch(
            torch.randn(size, *shape, generator=generator),
            torch.randint(3, (size,), generator=generator),
            torch.zeros(size, dtype=torch.int64),
        )
        for _ in range(n)
    ]


def convnet() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, groups=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.BatchNorm2d(4),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(100, 6),
        nn.Linear(6, 3),
    )


def scores_of(model: nn.Module) -> dict[str, Scores]:
    weights = prunable(model, first=True)
    data = batches()
    measured = conflict.measure(model, weights, data, loss, lambda z, b: z[:, 0].sum())
    settings = Selection(alpha=0.5, gate="soft", protect=0.3)
    squared = taylor(model, weights, [(b, 0.5) for b in data], loss)
    return {
        "magnitude": magnitude(weights),
        "random": random(weights, torch.Generator().manual_seed(5)),
        "lamp": lamp(weights),
        "taylor": squared,
        "tempered": tempered(weights, squared),
        "conflict": conflict.combine([measured], weights, settings),
    }


SCORERS = tuple(scores_of(convnet()))


def test_magnitude() -> None:
    assert magnitude({"w": torch.tensor([-2.0, 0.0, 1.5])})["w"].tolist() == [2, 0, 1.5]


def test_random_follows_its_generator_alone() -> None:
    weights = {"a": torch.zeros(50), "b": torch.zeros(4, 5)}
    one, same = (random(weights, torch.Generator().manual_seed(3)) for _ in range(2))
    other = random(weights, torch.Generator().manual_seed(4))
    assert torch.equal(one["a"], same["a"])
    assert not torch.equal(one["a"], other["a"])
    assert 0 <= one["a"].min() <= one["a"].max() < 1


def test_lamp_against_its_definition() -> None:
    torch.manual_seed(2)
    weights = {"a": torch.randn(5, 4), "b": 100 * torch.randn(3, 2, 3, 3)}
    scores = lamp(weights)
    for name, w in weights.items():
        flat = w.flatten().double()
        naive = [float(v**2 / sum(u**2 for u in flat if abs(u) >= abs(v))) for v in flat]
        assert scores[name].flatten().tolist() == pytest.approx(naive)


def test_lamp_by_hand_and_on_dead_layers() -> None:
    scores = lamp({"w": torch.tensor([2.0, -1.0, 0.0, 3.0]), "dead": torch.zeros(3)})
    assert scores["w"].tolist() == pytest.approx([4 / 13, 1 / 14, 0, 1])
    assert scores["dead"].tolist() == [0, 0, 0]


def test_taylor_by_hand() -> None:
    """A linear model with squared loss: the gradient of (w x - t)^2 is 2 (w x - t) x."""
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0]]))
    data = [
        (Batch(torch.tensor([[1.0, 1.0]]), torch.tensor([0]), torch.tensor([0])), 0.25),
        (Batch(torch.tensor([[2.0, 0.5]]), torch.tensor([1]), torch.tensor([0])), 0.75),
    ]
    scores = taylor(
        model, {"weight": model.weight}, data, lambda z, b: (z[:, 0] - b.y).square().mean()
    )
    # residuals -1 and 0: only the first batch has a gradient, (-2, -2); times w: (-2, 4)
    assert scores["weight"].tolist() == [[0.25 * 4, 0.25 * 16]]


def test_taylor_against_backward() -> None:
    model = convnet().eval()
    weights = prunable(model)
    data = batches()
    expected = {name: torch.zeros_like(w) for name, w in weights.items()}
    for i, batch in enumerate(data):
        model.zero_grad()
        loss(model(batch.x), batch).backward()
        for name, w in weights.items():
            expected[name] += (i + 1) * (w.grad * w.detach()).square()
    scores = taylor(model, weights, [(b, i + 1.0) for i, b in enumerate(data)], loss)
    for name in weights:
        torch.testing.assert_close(scores[name], expected[name].detach())
        assert bool(scores[name].any())


def test_tempered() -> None:
    weights = {"w": torch.tensor([-2.0, 3.0, 0.0])}
    scores = tempered(weights, {"w": torch.tensor([16.0, 0.0, 1.0])})
    assert scores["w"].tolist() == pytest.approx([4.0, 3e-5, 0.0])


@pytest.mark.parametrize("name", SCORERS)
def test_contract_of_every_scorer(name: str) -> None:
    model = convnet()
    scores, again = scores_of(model)[name], scores_of(model)[name]
    for key, w in prunable(model, first=True).items():
        assert scores[key].shape == w.shape
        assert not scores[key].requires_grad
        assert bool(torch.isfinite(scores[key]).all())
        assert torch.equal(scores[key], again[key])
    assert scores.keys() == prunable(model, first=True).keys()


def test_no_scorer_leaves_a_trace() -> None:
    model = convnet().train()
    model[1].eval()  # a frozen BatchNorm in a model that trains
    model[7].weight.grad = torch.full_like(model[7].weight, 3.0)
    state = {name: t.clone() for name, t in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    rng = torch.get_rng_state()
    data = batches()
    weights = prunable(model, first=True)
    taylor(model, weights, [(b, 1.0) for b in data], loss)
    conflict.measure(model, weights, data, loss, lambda z, b: z.sum())
    for scorer in (magnitude, lamp):
        scorer(weights)
    random(weights, torch.Generator())
    assert torch.equal(torch.get_rng_state(), rng)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())
    assert bool((model[7].weight.grad == 3).all())
    assert [n for n, p in model.named_parameters() if p.grad is not None] == ["7.weight"]


def test_the_mode_is_restored_when_the_loss_fails() -> None:
    model = convnet().train()

    def broken(logits: Tensor, batch: Batch) -> Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        taylor(model, prunable(model), [(batches()[0], 1.0)], broken)
    assert all(module.training for module in model.modules())


def test_permuting_hidden_units_permutes_scores() -> None:
    torch.manual_seed(4)
    model = nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 3))
    order = torch.randperm(7)
    permuted = nn.Sequential(
        *[
            type(m)(m.in_features, m.out_features) if isinstance(m, nn.Linear) else nn.Tanh()
            for m in model
        ]
    )
    permuted.load_state_dict(model.state_dict())
    with torch.no_grad():
        permuted[0].weight.copy_(model[0].weight[order])
        permuted[0].bias.copy_(model[0].bias[order])
        permuted[2].weight.copy_(model[2].weight[:, order])
    data = [(batch, 1.0) for batch in batches(shape=(6,))]
    for score in (lambda m: taylor(m, prunable(m), data, loss), lambda m: lamp(prunable(m))):
        one, other = score(model), score(permuted)
        torch.testing.assert_close(other["0.weight"], one["0.weight"][order])
        torch.testing.assert_close(other["2.weight"], one["2.weight"][:, order])
