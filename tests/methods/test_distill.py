"""Losses that ask the dense network, and what magnitude pruning shares among methods."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fairsparse.core import Batch
from fairsparse.methods import METHODS, Method, distill, performance_weighted
from fairsparse.methods.distill import Distill
from fairsparse.methods.magnitude import Magnitude
from fairsparse.methods.performance_weighted import PerformanceWeighted, corrected_labels, weights
from fairsparse.methods.shared import pruning
from fairsparse.training import Loop, State, Trainer, state_of
from fairsparse.training.refinement.teacher import divergences
from helpers import bench, equal, fingerprint, network

OBJECTIVES = ("ceag", "equalized-loss", "performance-weighted", "distill")


def logits(n: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))


def examples(*y: int) -> Batch:
    """Examples of the classes `y`, of groups that are not known."""
    return Batch(torch.zeros(len(y), 1), torch.tensor(y), torch.full((len(y),), -1))


def test_weights_by_hand() -> None:
    # probabilities of the true class: one half, all, none
    known = torch.tensor([[0.0, 0.0], [200.0, 0.0], [200.0, 0.0]])
    y = torch.tensor([0, 0, 1])
    assert weights(known, y, 0.2, 2.0).tolist() == pytest.approx([0.2 + 0.8 / 4, 0.2, 1.0])
    assert weights(known, y, 0.0, 0.5).tolist() == pytest.approx([math.sqrt(0.5), 0.0, 1.0])
    assert weights(known, y, 1.0, 3.0).tolist() == [1.0, 1.0, 1.0]
    assert weights(known, y, 0.2, 0.0).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("gamma", [0.5, 1.0, 5.0])
def test_weights_lie_between_theta_and_1_and_fall_with_confidence(gamma: float) -> None:
    p = torch.linspace(0, 1, 101)
    w = weights(torch.stack([p, 1 - p], 1).log(), torch.zeros(101, dtype=torch.int64), 0.3, gamma)
    assert float(w.min()) >= 0.3 - 1e-6
    assert float(w.max()) <= 1 + 1e-6
    assert bool((w.diff() <= 1e-6).all())


def test_labels_are_corrected_exactly_where_the_dense_network_errs() -> None:
    known, y = logits(60), torch.arange(60) % 3
    labels = corrected_labels(known, y)
    wrong = known.argmax(1) != y
    assert 0 < int(wrong.sum()) < 60
    assert torch.equal(labels[wrong], F.one_hot(y, 3).float()[wrong])
    assert torch.equal(labels[~wrong], known.softmax(1)[~wrong])


def test_full_weights_and_hard_labels_are_plain_training() -> None:
    weighted, plain = (
        PerformanceWeighted(sparsity=0.7, theta=1.0, soft=False),
        Magnitude(sparsity=0.7),
    )
    a, b = bench(weighted, "conv"), bench(plain, "conv")
    assert a.run(weighted).masks == b.run(plain).masks
    for name, tensor in state_of(a.model).items():
        torch.testing.assert_close(tensor, state_of(b.model)[name])


def test_the_weighted_loss_by_hand() -> None:
    # dense: p = 1/4 of class 0, where class 1 is true, and 4/5 of class 1, where 0 is true
    known = torch.tensor([[0.25, 0.75], [0.2, 0.8]]).log()
    method = PerformanceWeighted(theta=0.5, gamma=1.0)
    own = torch.tensor([[0.0, 0.0], [0.0, math.log(3)]])
    # weights 0.5 + 0.5/4 and 0.5 + 0.5 * 0.8; a soft target at an even guess: ln 2; hard: -ln 1/4
    expected = (0.625 * math.log(2) + 0.9 * math.log(4)) / 2
    assert float(method.loss(lambda x: known)(own, examples(1, 0))) == pytest.approx(expected)
    hard = PerformanceWeighted(theta=0.5, gamma=1.0, soft=False).loss(lambda x: known)
    expected = (0.625 * math.log(4 / 3) + 0.9 * math.log(4)) / 2
    tilted = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]])
    assert float(hard(tilted, examples(1, 0))) == pytest.approx(expected)


def test_distillation_by_hand() -> None:
    # at temperature 2 the teacher says 3/4 and 1/4, the student 1/2 and 1/2
    teacher, student = torch.tensor([[2 * math.log(3), 0.0]]), torch.zeros(1, 2)
    kl = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert float(divergences(student, teacher, 2.0)) == pytest.approx(4 * kl)
    both = divergences(student.repeat(2, 1), torch.cat([teacher, student]), 2.0)
    assert both.tolist() == pytest.approx([4 * kl, 0.0])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_a_student_that_is_its_teacher_has_nothing_to_learn(temperature: float) -> None:
    student = logits().requires_grad_(True)
    value = divergences(student, logits(), temperature).mean()
    (slope,) = torch.autograd.grad(value, student)
    assert float(value.detach()) == 0
    torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-6, rtol=0)


def test_without_a_teacher_distillation_is_plain_training_bit_for_bit() -> None:
    for alpha, same in ((0.0, True), (0.5, False)):
        taught = Distill(sparsity=0.7, schedule="one-shot", finetune=0.5, alpha=alpha)
        plain = Magnitude(sparsity=0.7, finetune=0.5)
        a, b = bench(taught, "conv"), bench(plain, "conv")
        assert a.run(taught).masks == b.run(plain).masks
        assert equal(state_of(a.model), state_of(b.model)) == same


def test_the_distilled_loss_mixes_labels_and_teacher() -> None:
    teacher, batch = logits(seed=1), examples(0, 1, 2, 0, 1, 2)
    loss = Distill(alpha=0.25, temperature=3.0).loss(lambda x: teacher)
    plain = float(F.cross_entropy(logits(), batch.y))
    expected = 0.75 * plain + 0.25 * float(divergences(logits(), teacher, 3.0).mean())
    assert float(loss(logits(), batch)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "module"),
    [("performance-weighted", performance_weighted), ("distill", distill)],
    ids=["performance-weighted", "distill"],
)
def test_the_dense_network_answers_for_the_inputs_the_sparse_one_saw(
    monkeypatch: pytest.MonkeyPatch, name: str, module: Any
) -> None:
    method: Method = METHODS[name](sparsity=0.5)
    case = bench(method, "conv", augment=("crop", "flip"))
    asked: list[Tensor] = []
    shown: list[Tensor] = []
    dense, batch = pruning.frozen(case), Trainer.training_batch
    answers: list[Tensor] = []

    def watched(*given: Any) -> Any:
        reference = pruning.frozen(*given)

        def ask(x: Tensor) -> Tensor:
            asked.append(x.clone())
            answers.append(reference(x))
            return answers[-1]

        return ask

    monkeypatch.setattr(module, "frozen", watched)

    def seen(*given: Any, **raw: Any) -> Any:
        shown.append(batch(*given, **raw))
        return shown[-1]

    monkeypatch.setattr(Trainer, "training_batch", seen)
    case.run(method)
    assert len(asked) == len(shown) == 12
    assert all(torch.equal(a, s.x) for a, s in zip(asked, shown, strict=True))
    # it answers as it did before anything was pruned, and to other inputs in each epoch
    assert all(torch.equal(a, dense(x)) for a, x in zip(answers, asked, strict=True))
    plain = {tuple(x.flatten().tolist()) for x in case.data.train.batch(torch.arange(192)).x}
    changed = [tuple(x.flatten().tolist()) not in plain for x in torch.cat(asked)]
    assert sum(changed) > len(changed) / 4


def test_a_frozen_network_stays_as_it_was() -> None:
    case = bench(Magnitude(), "conv")
    before = state_of(case.model)
    x = case.data.val.batch(torch.arange(5)).x
    case.model.eval()
    expected = case.model(x).detach()
    case.model.train()
    reference = pruning.frozen(case)
    assert case.model.training
    case.model.load_state_dict(network("conv", seed=3).state_dict())
    state = torch.get_rng_state()
    for _ in range(2):
        assert torch.equal(reference(x), expected)
    assert torch.equal(torch.get_rng_state(), state)
    assert not reference(x).requires_grad
    assert fingerprint(state_of(case.model)) != fingerprint(before)
    assert all(p.requires_grad for p in case.model.parameters())


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("schedule", ["one-shot", "gradual"])
def test_training_starts_from_the_dense_network_at_its_factor(
    monkeypatch: pytest.MonkeyPatch, name: str, schedule: str
) -> None:
    method: Any = METHODS[name](  # type: ignore[call-arg]
        sparsity=0.5, schedule=schedule, lr_factor=0.2, finetune=0.5
    )
    case = bench(method)
    starts: list[State] = []
    rates: list[float] = []
    epochs = Loop.__iter__

    def watched(loop: Loop) -> Any:
        starts.append(state_of(loop.model))
        for log in epochs(loop):
            rates.append(log.lr)
            yield log

    monkeypatch.setattr(Loop, "__iter__", watched)
    masks = case.run(method).masks
    whole = schedule == "gradual"
    assert len(starts) == 1
    for weight, tensor in starts[0].items():
        kept = tensor if whole or weight not in masks else tensor[masks[weight]]
        was = case.dense.final[weight]
        assert torch.equal(kept, was if kept is tensor else was[masks[weight]])
    last = [5, 11] if whole else [11]
    expected = [0.2 * case.trainer.recipe.learning_rate(step, 12) for step in last]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_stored_result_is_taken_and_a_broken_one_made_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    method: Any = METHODS[name](sparsity=0.7)
    whole = bench(method, "conv")
    expected = whole.run(method)
    epochs = Loop.__iter__
    runs: list[str] = []

    def counted(loop: Loop) -> Any:
        runs.append(loop.stage)
        for log in epochs(loop):
            yield log
            if len(runs) == 1:
                raise KeyboardInterrupt

    broken, again, third = (bench(method, "conv", folder=tmp_path) for _ in range(3))
    monkeypatch.setattr(Loop, "__iter__", counted)
    with pytest.raises(KeyboardInterrupt):
        broken.run(method)
    for case in (again, third):
        assert case.run(method) == expected
        assert equal(state_of(case.model), state_of(whole.model))
        assert case.trainer.history == whole.trainer.history
        assert case.trainer.steps == whole.trainer.steps
    assert runs == [f"{name} 0.7"] * 2
    other: Any = METHODS[name](sparsity=0.7, ramp=0.6)
    bench(other, "conv", folder=tmp_path).run(other)
    assert len(runs) == 3
