"""Conflict scores against closed forms and their invariances."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fairsparse.core import Batch, LossFn
from fairsparse.masks.maskset import MaskSet, prunable
from fairsparse.masks.selection import select
from fairsparse.methods.ballot.conflict import (
    Layer,
    combine,
    measure,
    opposed_share,
    removal_effect,
    unit_conflict,
    weight_conflict,
)
from fairsparse.methods.ballot.settings import Selection

A, B = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])


class Point(nn.Module):
    """A model whose output is its two weights: losses are functions of the weights alone."""

    def __init__(self, at: tuple[float, float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([at]))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight[0]


def losses(w: Tensor) -> tuple[Tensor, Tensor]:
    return 0.5 * (w - A).square().sum(), 0.5 * (w - B).square().sum()


def mean_loss(w: Tensor, batch: Batch) -> Tensor:
    a, b = losses(w)
    return 0.75 * a + 0.25 * b


def gap(w: Tensor, batch: Batch | None = None) -> Tensor:
    a, b = losses(w)
    return ((a - b) / 2).square()


EMPTY = Batch(torch.zeros(1), torch.zeros(1).long(), torch.zeros(1).long())


def two_groups(at: tuple[float, float]) -> Layer:
    model = Point(at)
    return measure(model, {"weight": model.weight}, [EMPTY], mean_loss, gap)["weight"]


def test_two_quadratic_groups_at_the_origin() -> None:
    layer = two_groups((0.0, 0.0))
    assert layer.goal.tolist() == [[-0.75, -0.5]]
    assert layer.other.tolist() == [[0.75, -1.5]]
    # the products are (-0.5625, 0.75): the first weight is in conflict, the second is not
    conflict = weight_conflict(layer)[0]
    assert conflict[0] > 0
    assert conflict[1] == 0
    # as one unit there is none: cos = 0.1875 / (|A| |F|)
    cosine = 0.1875 / ((0.75**2 + 0.5**2) ** 0.5 * (0.75**2 + 1.5**2) ** 0.5)
    assert layer.cosines.tolist() == [[pytest.approx(cosine)]]
    assert cosine == pytest.approx(0.124, abs=5e-4)


def test_weight_conflict_by_hand() -> None:
    goal = torch.tensor([[1.0, -1.0, 7.0, 0.0, 1.0]])
    other = torch.tensor([[-2.0, -2.0, -2.0, 2.0, 2.0]])
    layer = Layer(torch.zeros(1, 1), goal, other, torch.tensor([True]))
    rms = (52 / 5) ** 0.5
    # relative sizes, cut at 3 and brought to [0, 1]; the other loss is everywhere at its own RMS
    expected = [(1 / rms / 9) ** 0.5, 0, (7 / rms / 9) ** 0.5, 0, 0]
    assert weight_conflict(layer)[0].tolist() == pytest.approx(expected)
    peaked = Layer(torch.zeros(1, 1), torch.eye(20)[:1], -torch.eye(20)[:1], torch.tensor([True]))
    assert weight_conflict(peaked)[0, 0] == 1  # sqrt(20) times the RMS, beyond the cut


@pytest.mark.parametrize(("index", "change"), [(0, -0.52), (1, 0.60)])
def test_removal_effect_predicts_which_removal_helps(index: int, change: float) -> None:
    at = (0.8, 0.3)
    layer = two_groups(at)
    torch.testing.assert_close(layer.goal, torch.tensor([[0.05, -0.2]]))
    torch.testing.assert_close(layer.other, torch.tensor([[0.85, -1.7]]))
    product = layer.other * torch.tensor([at])
    torch.testing.assert_close(product, torch.tensor([[0.68, -0.51]]))
    assert float(removal_effect(layer, torch.tensor([at]))) == pytest.approx(0.68 - 0.51, rel=1e-4)
    without = torch.tensor(at)
    without[index] = 0
    actual = float(gap(without) - gap(torch.tensor(at)))
    assert actual == pytest.approx(change, abs=5e-3)
    assert (actual < 0) == bool(product[0, index] > 0)


def squares(logits: Tensor, batch: Batch) -> Tensor:
    return logits.square().mean()


def scaled(factor: float, loss: LossFn = squares) -> LossFn:
    return lambda logits, batch: factor * loss(logits, batch)


def third(logits: Tensor, batch: Batch) -> Tensor:
    return (logits[:, 0] - logits[:, 1]).pow(3).sum()


def network() -> nn.Sequential:
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))


def measured(goal: LossFn, other: LossFn, masks: MaskSet | None = None) -> dict[str, Layer]:
    model = network()
    generator = torch.Generator().manual_seed(0)
    zeros = torch.zeros(5, dtype=torch.int64)
    data = [Batch(torch.randn(5, 6, generator=generator), zeros, zeros) for _ in range(4)]
    return measure(model, prunable(model), data, goal, other, masks)


def test_opposed_and_aligned_losses() -> None:
    for factor, clipped, symmetric in ((-3.0, 1.0, 1.0), (3.0, 0.0, 0.0)):
        for layer in measured(squares, scaled(factor)).values():
            ones = torch.ones(8, dtype=torch.float64)
            for exact in (True, False):
                close = {"rtol": 0, "atol": 1e-6}
                got = unit_conflict(layer, "clip", exact=exact)
                torch.testing.assert_close(got, clipped * ones, **close)
                got = unit_conflict(layer, "sym", exact=exact)
                torch.testing.assert_close(got, symmetric * ones, **close)
                # all units tie, so none is more in conflict than its peers
                assert torch.equal(unit_conflict(layer, "rank", exact=exact), 0.5 * ones)


@pytest.mark.parametrize("norm", ["rank", "clip", "sym"])
def test_positive_rescaling_of_either_loss_changes_nothing(norm: str) -> None:
    plain = measured(squares, third)
    assert len(unit_conflict(plain["0.weight"], norm).unique()) > 2
    for goal, other in ((scaled(1e-3), third), (squares, scaled(1e4, third))):
        for name, layer in measured(goal, other).items():
            torch.testing.assert_close(
                unit_conflict(layer, norm), unit_conflict(plain[name], norm), rtol=0, atol=1e-6
            )


def test_rank_orders_units_by_opposition_and_averages_one_half() -> None:
    points = [measured(squares, third)]
    for layer in points[0].values():
        conflict = unit_conflict(layer)
        assert conflict.sort().values.tolist() == pytest.approx([i / 7 for i in range(8)])
        assert torch.equal(conflict.argsort(), layer.cosines.mean(0).argsort(descending=True))
    for kappa in combine(points, prunable(network()), Selection()).values():
        assert float(kappa.mean()) == pytest.approx(0.5)
        assert torch.equal(kappa, kappa[:, :1].expand_as(kappa))


def layer_of(cosines: list[list[float]], scorable: list[bool] | None = None) -> Layer:
    values = torch.tensor(cosines, dtype=torch.float64)
    n = values.shape[1]
    alive = torch.tensor(scorable if scorable is not None else [True] * n)
    return Layer(values, torch.ones(n, 6), torch.ones(n, 6), alive)


def test_rank_shares_ties_and_leaves_out_what_cannot_be_scored() -> None:
    layer = layer_of([[0.5, -0.5, 0.5, 0.9, -1.0]], [True, True, True, True, False])
    assert unit_conflict(layer).tolist() == pytest.approx([0.5, 1.0, 0.5, 0.0, 0.5])
    few = layer_of([[0.5, -0.5, 0.1]])
    assert unit_conflict(few).tolist() == [0.5] * 3


def test_rank_of_cosines_that_agree_to_rounding_is_a_tie() -> None:
    assert unit_conflict(layer_of([[0.3, 0.3 + 1e-12, 0.3 - 1e-12, 0.3]])).tolist() == [0.5] * 4


def test_clip_allows_for_noise() -> None:
    layer = layer_of([[-0.2, -0.6, 0.4], [-0.6, 0.2, 0.8]])
    error = 0.4 / 2**0.5 / 2**0.5  # standard deviation of (-0.2, -0.6) over the root of 2 batches
    assert unit_conflict(layer, "clip").tolist() == pytest.approx([0.4 - error, 0, 0])
    assert unit_conflict(layer, "sym").tolist() == pytest.approx([0.7, 0.6, 0.2])
    with pytest.raises(ValueError, match="unknown norm 'max'"):
        unit_conflict(layer, "max")  # type: ignore[arg-type]


def test_equal_cells_leave_the_magnitude_mask_alone() -> None:
    """No gap, no gradient of it: no NaN, and the conflict factor is the same for every weight."""
    weights = prunable(network())
    points = [measured(squares, scaled(0.0))]
    magnitude = {name: w.detach().abs().double() for name, w in weights.items()}
    for norm, value in (("rank", 0.5), ("clip", 0.0)):
        kappa = combine(points, weights, Selection(norm=norm))  # type: ignore[arg-type]
        assert all(bool((k == value).all()) for k in kappa.values())
        scores = {name: magnitude[name] * torch.exp(-kappa[name]) for name in weights}
        assert select(scores, 0.7) == select(magnitude, 0.7)
    assert opposed_share(points) == 0


def test_dead_weights_have_no_vote() -> None:
    weights = prunable(network())
    masks = {name: torch.ones_like(w).bool() for name, w in weights.items()}
    masks["0.weight"][0, 1:] = False  # one alive: no direction
    masks["0.weight"][1, 0] = False  # five alive: just enough
    masked = measured(squares, third, MaskSet(masks))["0.weight"]
    plain = measured(squares, third)["0.weight"]
    assert masked.scorable.tolist() == [False] + [True] * 7
    assert bool((masked.goal[0, 1:] == 0).all())
    assert bool((masked.other[0, 1:] == 0).all())
    assert torch.equal(masked.cosines[:, 2:], plain.cosines[:, 2:])
    assert bool((masked.cosines[:, 1] != plain.cosines[:, 1]).all())
    assert unit_conflict(masked)[0] == 0.5
    assert unit_conflict(masked, "clip")[0] == 0


def test_summed_gradients_are_those_of_the_whole_set() -> None:
    model = network()
    weights = prunable(model)
    zeros = torch.zeros(9, dtype=torch.int64)
    x = torch.randn(9, 6, generator=torch.Generator().manual_seed(1))
    data = [Batch(x[:4], zeros[:4], zeros[:4]), Batch(x[4:], zeros[4:], zeros[4:])]
    loss: Callable[[Tensor, Batch | None], Tensor] = lambda z, b: z.pow(2).sum()  # noqa: E731
    layers = measure(model, weights, data, loss, third)
    whole = model(x)
    for goal, loss_fn in (("goal", loss), ("other", third)):
        grads = torch.autograd.grad(
            loss_fn(whole, data[0]), list(weights.values()), retain_graph=True
        )
        for layer, grad in zip(layers.values(), grads, strict=True):
            torch.testing.assert_close(getattr(layer, goal), grad)


def test_gates() -> None:
    weights = prunable(network())
    points = [measured(squares, third), measured(scaled(2.0), scaled(-1.0, third))]
    one = points[:1]
    plain, hard, soft = (
        combine(one, weights, Selection(gate=gate)) for gate in ("off", "hard", "soft")
    )
    for name, w in weights.items():
        effect = removal_effect(one[0][name], w)
        opened = (effect > 0).double()[:, None]
        assert 0 < opened.sum() < len(opened)
        torch.testing.assert_close(hard[name], plain[name] * opened)
        sigmoid = torch.sigmoid(effect / effect.abs().median())[:, None]
        torch.testing.assert_close(soft[name], plain[name] * sigmoid)
    # two points that disagree on every sign: no majority, no gate is open
    assert not any(bool(k.any()) for k in combine(points, weights, Selection(gate="hard")).values())


def test_points_are_averaged_and_alpha_mixes() -> None:
    weights = prunable(network())
    points = [measured(squares, third), measured(third, squares), measured(squares, squares)]
    unit = combine(points, weights, Selection())
    own = combine(points, weights, Selection(alpha=0.0))
    mixed = combine(points, weights, Selection(alpha=0.25))
    for name in weights:
        layers = [point[name] for point in points]
        mean = torch.stack([unit_conflict(x) for x in layers]).mean(0)
        torch.testing.assert_close(unit[name], mean[:, None].expand_as(unit[name]))
        parts = torch.stack([weight_conflict(x) for x in layers]).mean(0)
        torch.testing.assert_close(own[name].float(), parts)
        torch.testing.assert_close(mixed[name], 0.25 * unit[name] + 0.75 * own[name])
        assert 0 <= mixed[name].min() <= mixed[name].max() <= 1


def test_protected_units_are_the_most_important_to_the_first_goal() -> None:
    weights = prunable(network())
    points = [measured(squares, third)]
    plain, guarded = (
        combine(points, weights, Selection()),
        combine(points, weights, Selection(protect=0.25)),
    )
    for name, w in weights.items():
        importance = (points[0][name].goal * w.detach()).square().sum(1)
        top = importance >= importance.sort().values[-2]
        assert not guarded[name][top].any()
        assert torch.equal(guarded[name][~top], plain[name][~top])


def test_opposed_share() -> None:
    points = [{"a": layer_of([[0.5, -0.5, -0.1, -1.0]], [True, True, True, False])}]
    assert opposed_share(points) == pytest.approx(2 / 3)
    assert opposed_share([measured(squares, scaled(-1.0))]) == 1
    assert opposed_share([]) == 0


def test_filters_of_convolutions_are_units() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 5, 3), nn.Flatten(), nn.Linear(5, 2))
    weights = prunable(model)
    batch = Batch(torch.randn(3, 2, 5, 5), torch.zeros(3).long(), torch.zeros(3).long())
    layers = measure(model, weights, [batch, batch], squares, scaled(-1.0))
    assert layers["1.weight"].cosines.shape == (2, 5)
    kappa = combine([layers], weights, Selection(norm="sym"))["1.weight"]
    assert kappa.shape == weights["1.weight"].shape
    torch.testing.assert_close(kappa, torch.ones_like(kappa))
