"""Learning from the dense network's answers: the right ones, in the right share, for every form."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fairsparse.core import Batch
from fairsparse.methods.lth import LotteryTicket
from fairsparse.training import State, state_of
from fairsparse.training.refinement import Refinement
from fairsparse.training.refinement.refining import refine
from fairsparse.training.refinement.teacher import divergences, labels_alone, taught, with_errors
from helpers import bench, equal

SURE = 200.0


def trained(
    settings: Refinement, answers: Tensor | None = None, wrong: bool = False, **recipe: Any
) -> State:
    """State after a run under `settings`, with other `answers` or with every label moved by one."""
    case = bench(LotteryTicket(rewind_at=0.0), **recipe)
    case.model.load_state_dict(case.dense.states[0])
    train = case.data.train
    data = case.data
    if wrong:
        data = replace(data, train=replace(train, y=(train.y + 1) % 3))
    dense = case.dense if answers is None else replace(case.dense, answers=lambda: answers)
    run = replace(case, data=data, dense=dense)
    refine(run.loop("x"), run, settings)
    return state_of(case.model)


def test_a_distance_is_the_divergence_by_hand() -> None:
    teacher, student = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 1.0]] * 2)
    p = torch.tensor([[0.5, 0.0]]).softmax(1)[0].tolist()  # of the first teacher at temperature 2
    q = p[::-1]
    first = sum(a * torch.tensor(a / b).log().item() for a, b in zip(p, q, strict=True))
    second = sum(0.5 * torch.tensor(0.5 / b).log().item() for b in q)
    assert divergences(student, teacher, 2.0).tolist() == pytest.approx(
        [4 * first, 4 * second], rel=1e-4
    )
    assert divergences(teacher, teacher, 2.0).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_mixes_answers_and_labels(share: float) -> None:
    answers = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    logits = torch.randn(2, 3, generator=torch.Generator().manual_seed(2))
    batch = Batch(torch.zeros(2, 1), torch.tensor([2, 0]), torch.tensor([-1, -1]))
    loop: Any = SimpleNamespace(index=torch.tensor([4, 1]))
    expected = (1 - share) * labels_alone(logits, batch) + share * divergences(
        logits, answers[[4, 1]], 3.0
    )
    assert torch.equal(taught(loop, answers, share, 3.0)(logits, batch), expected)


def test_errors_take_the_place_of_a_loss_s_cross_entropy_and_leave_its_rest() -> None:
    logits = torch.randn(2, 3, generator=torch.Generator().manual_seed(2))
    batch = Batch(torch.zeros(2, 1), torch.tensor([2, 0]), torch.tensor([-1, -1]))

    def loss(logits: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(logits, batch.y) + 3 * logits.sum()

    def errors(logits: Tensor, batch: Batch) -> Tensor:
        return torch.tensor([1.0, 2.0])

    expected = 1.5 + 3 * float(logits.sum())
    assert float(with_errors(loss, errors)(logits, batch)) == pytest.approx(expected)
    assert with_errors(loss, labels_alone) is loss


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_a_teacher_who_repeats_the_labels_teaches_what_they_do(kind: str) -> None:
    # so every example of the shuffled batches gets its own answer
    plain = Refinement.off()
    labels = bench(LotteryTicket(rewind_at=0.0), kind).data.train.y
    answers = SURE * F.one_hot(labels, 3).float()
    settings = replace(plain, distill=1.0, temperature=1.0)
    taught_state, plain_state = trained(settings, answers, kind=kind), trained(plain, kind=kind)
    assert not equal(plain_state, trained(settings, answers.roll(1, 0), kind=kind))
    for name, value in plain_state.items():
        torch.testing.assert_close(taught_state[name], value, atol=1e-4, rtol=1e-3)


def test_answers_alone_leave_the_labels_unread() -> None:
    settings = replace(Refinement.off(), distill=1.0)
    answers = torch.randn(192, 3, generator=torch.Generator().manual_seed(1))
    assert equal(trained(settings, answers), trained(settings, answers, wrong=True))
    half = replace(settings, distill=0.5)
    assert not equal(trained(half, answers), trained(half, answers, wrong=True))


@pytest.mark.parametrize("form", ["weights", "penalty", "margin", "none"])
def test_every_form_learns_from_the_answers(form: Any) -> None:
    settings = Refinement(form=form, distill=0.0, keep="last")
    assert not equal(trained(settings), trained(replace(settings, distill=0.5)))


def test_the_answers_are_the_dense_network_s_whatever_became_of_the_model() -> None:
    case = bench(LotteryTicket(rewind_at=0.0))
    expected = case.trainer.predict(case.model, case.data.train).logits
    with torch.no_grad():
        for p in case.model.parameters():
            p.zero_()
    assert torch.equal(case.dense.answers(), expected)
