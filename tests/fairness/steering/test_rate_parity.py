"""Directed terms against sums written out, and directions against gaps that are plain to see."""

from __future__ import annotations

import math

import pytest
import torch

from fairsparse.fairness.steering.penalties import PushForm, directed_term, directions

# four examples: logits of class 1 against 0 are 2, -1, 0.5, 3; half of all training examples are
# in group 0, a quarter in group 1
LOGITS = torch.tensor([[0.0, 2.0], [1.0, 0.0], [0.5, 1.0], [-1.0, 2.0]])
GROUP = torch.tensor([0, 0, 1, 1])
SHARE = torch.tensor([0.5, 0.25])
PUSH = torch.tensor([-1.0, 1.0])


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


EXPECTED = {
    "logistic": -(
        (math.log(sigmoid(-2)) + math.log(sigmoid(1))) / 0.5
        + (math.log(sigmoid(0.5)) + math.log(sigmoid(3))) / 0.25
    )
    / 4,
    "linear": ((2 - 1) / 0.5 - (0.5 + 3) / 0.25) / 4,
    "hinge": (((1 + 2) + max(0, 1 - 1)) / 0.5 + ((1 - 0.5) + max(0, 1 - 3)) / 0.25) / 4,
}


@pytest.mark.parametrize("form", EXPECTED)
def test_four_examples_by_hand(form: PushForm) -> None:
    term = directed_term(LOGITS, GROUP, PUSH, SHARE, form)
    assert float(term) == pytest.approx(EXPECTED[form], rel=1e-6)


@pytest.mark.parametrize("form", EXPECTED)
def test_only_examples_of_the_cell_count(form: PushForm) -> None:
    # equal opportunity: the second and the third example are of class 0
    eo = directed_term(LOGITS, torch.tensor([0, -1, -1, 1]), PUSH, SHARE, form)
    phi = {
        "logistic": lambda u: -math.log(sigmoid(u)),
        "linear": lambda u: -u,
        "hinge": lambda u: max(0, 1 - u),
    }[form]
    assert float(eo) == pytest.approx((phi(-2) / 0.5 + phi(3) / 0.25) / 4, rel=1e-6)


@pytest.mark.parametrize("form", EXPECTED)
@pytest.mark.parametrize("index", [[0, 0, 0, 0], [-1, -1, -1, -1]])
def test_absent_groups_are_harmless(form: PushForm, index: list[int]) -> None:
    logits = LOGITS.clone().requires_grad_()
    term = directed_term(logits, torch.tensor(index), PUSH, SHARE, form)
    term.backward()
    assert bool(term.isfinite())
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())
    assert index[0] == 0 or (float(term.detach()) == 0 and not bool(logits.grad.any()))


def test_a_group_that_training_lacks_is_harmless() -> None:
    term = directed_term(LOGITS, torch.zeros(4).long(), PUSH, torch.tensor([1.0, 0.0]))
    assert bool(term.isfinite())


def test_batches_add_up_to_the_means_of_the_groups() -> None:
    # over a whole split the term is the sum of the groups' mean costs, however it is batched
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(60, 2, generator=generator)
    group = torch.tensor([0] * 40 + [1] * 10 + [-1] * 10)
    share = torch.tensor([40 / 60, 10 / 60])
    order = torch.randperm(60, generator=generator)
    parts = [directed_term(logits[i], group[i], PUSH, share, "linear") for i in order.split(6)]
    z = logits[:, 1] - logits[:, 0]
    assert float(sum(parts) / 10) == pytest.approx(
        float(z[:40].mean() - z[40:50].mean()), rel=1e-4, abs=1e-6
    )


def test_the_lower_rate_goes_up() -> None:
    many = torch.tensor([1000.0, 1000.0])
    assert directions(torch.tensor([0.2, 0.6]), many).tolist() == pytest.approx([1, -1])
    assert directions(torch.tensor([0.6, 0.2]), many).tolist() == pytest.approx([-1, 1])


def test_a_gap_that_sampling_explains_is_left_alone() -> None:
    rates = torch.tensor([0.5, 0.52])
    # one standard error of the difference is sqrt(2 * 0.25 / n): 0.02 at n = 1250
    assert directions(rates, torch.tensor([1000.0, 1000.0])).tolist() == [0, 0]
    assert directions(rates, torch.tensor([1500.0, 1500.0])).tolist() == pytest.approx([1, -1])


def test_three_groups_move_in_proportion() -> None:
    push = directions(torch.tensor([0.1, 0.4, 0.4]), torch.full((3,), 1e4))
    assert push.tolist() == pytest.approx([1, -0.5, -0.5])


def test_a_group_without_examples_stays() -> None:
    counts = torch.tensor([1e4, 0, 1e4])
    push = directions(torch.tensor([0.1, math.nan, 0.5]), counts)
    assert push.tolist() == pytest.approx([1, 0, -1])
    assert directions(torch.tensor([0.1, math.nan]), counts[:2]).tolist() == [0, 0]
