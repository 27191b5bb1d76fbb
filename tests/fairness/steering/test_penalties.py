"""Gap losses in closed form, and streaming gradients against autograd of the whole set."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fairsparse.fairness.cells import Cells
from fairsparse.fairness.notions import NOTIONS
from fairsparse.fairness.steering.penalties import (
    TAU,
    DeviationForm,
    FairLoss,
    deviation_loss,
    family_scale,
    gap_loss,
    proportional_weights,
    sampling_variance,
    spread_loss,
    streaming_weights,
    weighted_sum,
)

ONE = torch.zeros(3, dtype=torch.int64)
MEANS = torch.tensor([0.9, 0.6, 0.3], dtype=torch.float64)
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    **{kind: lambda s, f, kind=kind: gap_loss(s, f, kind) for kind in get_args(FairLoss)},
    "spread": spread_loss,
}
DEVIATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    form: lambda s, f, form=form: deviation_loss(s, f, form) for form in get_args(DeviationForm)
}


def test_variance_range_and_spread_by_hand() -> None:
    assert float(gap_loss(MEANS, ONE, "var")) == pytest.approx(0.06)
    assert float(spread_loss(MEANS, ONE)) == pytest.approx(2 * 0.06**0.5)
    up, down = (TAU * math.log(sum(math.exp(i * s / TAU) for s in MEANS)) for i in (1, -1))
    smooth = float(gap_loss(MEANS, ONE, "rng"))
    assert smooth == pytest.approx(up + down - 2 * TAU * math.log(3))
    assert 0.6 - 2 * TAU * math.log(3) <= smooth <= 0.6
    assert float(gap_loss(MEANS, ONE)) == pytest.approx(1, abs=1e-6)


def test_families_are_compared_within_and_averaged() -> None:
    means = torch.tensor([0.9, 0.5, 0.1, 0.1])
    families = torch.tensor([0, 0, 1, 1])
    assert float(gap_loss(means, families, "var")) == pytest.approx(0.04 / 2)
    assert float(spread_loss(means, families)) == pytest.approx(0.4 / 2, abs=1e-5)


def test_the_deviation_of_two_cells_is_their_gap() -> None:
    two, families = torch.tensor([0.9, 0.6], dtype=torch.float64), ONE[:2]
    assert float(deviation_loss(two, families)) == pytest.approx(0.3)
    assert float(deviation_loss(two.flip(0), families)) == pytest.approx(0.3)
    assert float(deviation_loss(two, families, "squared")) == pytest.approx(0.09)
    assert float(deviation_loss(two, families, "hinge", 0.1)) == pytest.approx(0.2)
    assert float(deviation_loss(two, families, "hinge", 0.4)) == 0
    # of three cells twice the mean of 0.3, 0 and 0.3; of two families the mean
    assert float(deviation_loss(MEANS, ONE)) == pytest.approx(0.4)
    four = torch.tensor([0.9, 0.5, 0.1, 0.1])
    assert float(deviation_loss(four, torch.tensor([0, 0, 1, 1]))) == pytest.approx(0.2)
    assert float(deviation_loss(four, torch.tensor([0, 0, 1, 1]), "hinge", 0.1)) == pytest.approx(
        0.15
    )


def test_cells_without_examples_are_left_out() -> None:
    nan = float("nan")
    with_gap = torch.tensor([0.9, nan, 0.5, nan, nan])
    families = torch.tensor([0, 0, 0, 1, 1])
    for loss in (LOSSES | DEVIATIONS).values():
        alone = loss(torch.tensor([0.9, 0.5]), torch.tensor([0, 0]))
        assert float(loss(with_gap, families)) == pytest.approx(float(alone))
    counts = torch.tensor([4.0, 0.0, 2.0, 0.0, 0.0])
    weights = streaming_weights(LOSSES["var"], with_gap, counts, families)
    assert weights.tolist() == pytest.approx([0.2 / 4, 0, -0.2 / 2, 0, 0])


@pytest.mark.parametrize("level", [0.0, 0.1, 1 / 3, 0.7, 1.0])
@pytest.mark.parametrize("name", LOSSES)
def test_equality_has_no_gradient(name: str, level: float) -> None:
    weights = streaming_weights(LOSSES[name], torch.full((3,), level), torch.ones(3), ONE)
    assert weights.abs().max() < 1e-3
    assert float(gap_loss(torch.full((3,), level), ONE)) == pytest.approx(0, abs=1e-4)


@given(
    st.lists(st.floats(0, 1, width=32), min_size=2, max_size=8),
    st.floats(1e-6, 1),
    st.sampled_from(sorted(LOSSES)),
)
def test_a_step_against_the_gradient_closes_the_gap_at_every_scale(
    values: list[float], size: float, name: str
) -> None:
    """Also for cells that are all but perfect, where float32 leaves few digits of the gap."""
    means = 1 - torch.tensor(values) * size
    families = torch.zeros(len(values), dtype=torch.int64)
    weights = streaming_weights(LOSSES[name], means, torch.ones(len(values)), families)
    assert bool(torch.isfinite(weights).all())
    lag = (means.double() - means.double().mean()).float()
    assert float((weights * lag).sum()) >= -1e-9
    if lag.abs().max() > 1e-5:
        assert float((weights * lag).sum()) > 0
        assert weights.argmax() in (lag == lag.max()).nonzero()


def test_both_weighs_the_two_parts_equally() -> None:
    """Each part is divided by its own value, so its gradient is that of half its logarithm."""
    ones = torch.ones(3, dtype=torch.float64)
    parts = [
        0.5 * streaming_weights(LOSSES[kind], MEANS, ones, ONE) / gap_loss(MEANS, ONE, kind)
        for kind in ("var", "rng")
    ]
    both = streaming_weights(LOSSES["both"], MEANS, ones, ONE)
    torch.testing.assert_close(both, parts[0] + parts[1], rtol=1e-5, atol=1e-9)


def test_streaming_weights_of_the_range_in_closed_form() -> None:
    counts = torch.tensor([2.0, 5.0, 1.0], dtype=torch.float64)
    weights = streaming_weights(LOSSES["rng"], MEANS, counts, ONE)
    slope = (MEANS / TAU).softmax(0) - (-MEANS / TAU).softmax(0)
    torch.testing.assert_close(weights, slope / counts)


def network(classes: int, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, classes)).double()


def gradient(loss: Tensor, model: nn.Module) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])


@pytest.mark.parametrize("name", LOSSES | DEVIATIONS)
@pytest.mark.parametrize("notion", NOTIONS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), cuts=st.lists(st.integers(1, 59), max_size=6))
def test_streaming_gradient_is_that_of_the_whole_set(
    notion: str, name: str, seed: int, cuts: list[int]
) -> None:
    """Batches in order of the class, so that most of them miss classes and groups."""
    generator = torch.Generator().manual_seed(seed)
    classes = 2 if NOTIONS[notion].binary else 4
    cells = Cells(notion, tuple("wxyz"[:classes]), ("a", "b", "c"))
    x = torch.randn(60, 3, generator=generator, dtype=torch.float64)
    y = torch.randint(classes, (60,), generator=generator).sort().values
    group = torch.randint(-1, 3, (60,), generator=generator)
    group[y == 0] = group[y == 0].clamp_max(1)  # a cell without examples
    model, loss = network(classes, seed), (LOSSES | DEVIATIONS)[name]

    index = cells.index(y, group)
    logits = model(x)
    means = cells.means(cells.soft(logits, y), index)
    whole = gradient(loss(means, cells.families), model)

    _, counts = cells.sums(torch.ones(60, dtype=torch.float64), index)
    weights = streaming_weights(loss, means, counts, cells.families)
    ends = [0, *sorted(set(cuts)), 60]
    streamed = torch.zeros_like(whole)
    for start, stop in pairwise(ends):
        part = slice(start, stop)
        total = weighted_sum(weights, cells, model(x[part]), y[part], group[part])
        streamed += gradient(total, model)
    torch.testing.assert_close(streamed, whole, rtol=1e-5, atol=1e-9 * float(whole.abs().max()))
    assert bool(whole.any())


ACCURACIES = st.lists(st.floats(0, 1), min_size=2, max_size=10)


@given(ACCURACIES, st.floats(0.1, 2))
def test_proportional_weights_favour_the_worse_served(means: list[float], strength: float) -> None:
    e = torch.tensor(means, dtype=torch.float64)
    families = torch.zeros(len(e), dtype=torch.int64)
    weights = proportional_weights(e, families, strength, torch.full_like(e, 0.1))
    assert float(weights.mean()) == pytest.approx(1)
    in_order = weights[e.argsort()]
    assert bool((in_order[1:] <= in_order[:-1] + 1e-12).all())
    if e.max() - e.min() > 1e-3:
        assert weights[e.argmin()] > weights[e.argmax()]


def test_proportional_weights_by_hand() -> None:
    e = torch.tensor([0.8, 0.6, 0.5, 0.5, 0.9, float("nan"), 0.3])
    families = torch.tensor([0, 0, 1, 1, 2, 2, 3])
    scale = torch.tensor([0.2, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1])
    weights = proportional_weights(e, families, 0.5, scale)
    assert weights.tolist() == pytest.approx([0.75, 1.25, 1, 1, 1, 1, 1])
    # half the lag, half the pressure
    nearer = proportional_weights(0.7 + (e - 0.7) / 2, families, 0.5, scale)
    assert nearer[:2].tolist() == pytest.approx([0.875, 1.125])
    # x = -2.25 (three times), 0.75 and 6: a lag beyond one scale counts with power 1.5
    far = proportional_weights(
        torch.tensor([0.725, 0.725, 0.725, 0.425, -0.1]),
        ONE.new_zeros(5),
        0.1,
        torch.full((5,), 0.1),
    )
    expected = torch.tensor([1 - 0.1 * 2.25 * 1.5] * 3 + [1 + 0.1 * 0.75, 1 + 0.1 * 6 * 6**0.5])
    assert far.tolist() == pytest.approx((expected / expected.mean()).tolist(), rel=1e-4)
    # strength 10: clipped to 0.3 and 3, then brought to mean 1
    clipped = proportional_weights(e, families, 10.0, scale)[:2].tolist()
    assert clipped == pytest.approx([0.3 / 1.65, 3 / 1.65])


def test_the_scale_is_the_deviation_of_the_family_and_never_tiny() -> None:
    means = torch.tensor([0.9, 0.5, 0.70, 0.71, 0.3])
    families = torch.tensor([0, 0, 1, 1, 2])
    scale = family_scale(means, torch.full((5,), 1e6), families, least=0.02)
    assert scale.tolist() == pytest.approx([0.2, 0.2, 0.02, 0.02, 0.02], rel=1e-4)


def test_the_scale_leaves_out_what_sampling_alone_would_give() -> None:
    torch.manual_seed(0)
    families = torch.zeros(4000, dtype=torch.int64)
    true = torch.tensor([0.6, 0.8]).repeat(2000)
    seen = torch.binomial(torch.full((4000,), 20.0), true) / 20
    assert float(seen.std()) > 0.13
    scale = family_scale(seen, torch.full((4000,), 20.0), families)
    assert float(scale[0]) == pytest.approx(0.1, abs=0.005)


def test_few_examples_are_never_certain() -> None:
    variance = sampling_variance(torch.tensor([1.0, 0.5]), torch.tensor([1.0, 100.0]))
    assert variance.tolist() == pytest.approx([2 / 9, 0.0025])


def test_equal_accuracies_weigh_the_same() -> None:
    assert (
        proportional_weights(
            torch.full((4,), 0.7), torch.zeros(4).long(), 2.0, torch.full((4,), 0.1)
        ).tolist()
        == [1] * 4
    )
