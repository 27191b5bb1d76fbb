"""The training loop against closed forms, itself started elsewhere, and naive versions."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairsparse.core import Batch, Diverged, InputError
from fairsparse.data.task import Split
from fairsparse.masks.maskset import MaskSet, prunable
from fairsparse.training import Loop, state_of
from helpers import SHAPES, equal, network, tiny, trainer_for

PLAIN = {"momentum": 0.0, "weight_decay": 0.0, "schedule": "constant"}


def thin(model: nn.Module) -> MaskSet:
    """Every second prunable weight."""
    return MaskSet(
        {
            name: (torch.arange(w.numel()) % 2 == 0).view(w.shape)
            for name, w in prunable(model).items()
        }
    )


@pytest.mark.parametrize("k", [0, 6, 9])
def test_a_run_from_a_snapshot_ends_where_the_full_run_does(k: int) -> None:
    data = tiny(SHAPES["conv"])
    trainer = trainer_for(data, epochs=3, augment=("crop", "flip"), momentum=0.0, warmup=0.3)
    full = network("conv")
    states = Loop(trainer, full, data.train, stage="full", snapshots={k}).finish()
    again = network("conv", seed=1)
    again.load_state_dict(states[k])
    Loop(trainer, again, data.train, stage="again", start=k).finish()
    assert equal(state_of(full), state_of(again))
    assert not equal(states[k], state_of(full))


def test_the_snapshot_is_the_state_after_that_many_steps() -> None:
    data = tiny()
    trainer = trainer_for(data)
    model = network("mlp")
    untouched = state_of(model)
    states = Loop(trainer, model, data.train, stage="x", snapshots={0, 5, 12}).finish()
    assert equal(states[0], untouched)
    assert equal(states[12], state_of(model))
    stopped = network("mlp")
    for _ in Loop(trainer, stopped, data.train, stage="x", stop=5):
        pass
    assert equal(states[5], state_of(stopped))


def test_order_and_seed_decide_what_is_seen() -> None:
    data = tiny()

    def end(seed: int = 0, order: str = "order") -> dict[str, Tensor]:
        model = network("mlp")
        loop = Loop(trainer_for(data, seed=seed), model, data.train, stage="x")
        loop.order = order
        loop.finish()
        return state_of(model)

    assert equal(end(), end())
    assert not equal(end(), end(seed=1))
    assert not equal(end(), end(order="order b"))


def test_an_epoch_sees_every_example_at_most_once() -> None:
    data = tiny()
    seen: list[Tensor] = []
    trainer = trainer_for(data, batch_size=50, epochs=1)
    loop = Loop(trainer, network("mlp"), data.train, stage="x")

    def loss(logits: Tensor, batch: Batch) -> Tensor:
        seen.append(batch.x)
        return logits.sum()

    loop.loss = loss
    list(loop)
    assert [len(x) for x in seen] == [50, 50, 50]
    assert len(torch.cat(seen).unique(dim=0)) == 150


def test_warm_up_after_a_rewind_and_the_two_factors() -> None:
    data = tiny()
    trainer = trainer_for(data, epochs=3, schedule="constant", lr=0.2)
    loop = Loop(trainer, network("mlp"), data.train, stage="x", start=4)
    loop.warm, loop.base_factor = 4, 0.5
    rates: list[float] = []
    loop.optimizer.register_step_pre_hook(
        lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"])
    )
    for log in loop:
        loop.lr_factor = 0.1 if log.epoch == 1 else 1.0
    assert rates == pytest.approx([0.1 * f for f in [0.25, 0.5, 0.75, 1] + [1] * 4 + [0.1] * 6])


def test_clipping_bounds_the_step_by_rate_times_norm() -> None:
    data = tiny()

    def moved(clip: float) -> float:
        trainer = trainer_for(data, epochs=1, batch_size=192, lr=0.5, grad_clip=clip, **PLAIN)
        model = network("mlp")
        before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
        Loop(trainer, model, data.train, stage="x").finish()
        after = nn.utils.parameters_to_vector(model.parameters()).detach()
        return float((after - before).norm())

    free = moved(0)
    assert moved(1e-3) == pytest.approx(0.5e-3, rel=1e-3)
    assert moved(1e6) == free > 0.01


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_masks_set_between_epochs_reach_weights_and_momentum_at_once(optimizer: str) -> None:
    data = tiny()
    trainer = trainer_for(data, epochs=3, optimizer=optimizer, lr=0.01)
    model = network("mlp")
    loop = Loop(trainer, model, data.train, stage="x")
    masks = thin(model)
    for log in loop:
        if log.epoch == 0:
            assert not masks.is_applied(model)
            loop.masks = masks
        assert masks.is_applied(model)
        for name, w in prunable(model).items():
            memory = [t for t in loop.optimizer.state[w].values() if t.shape == w.shape]
            assert memory
            for t in memory:
                assert not t[~masks[name]].any()
                assert t[masks[name]].any()


def test_pruned_weights_take_no_part_in_the_clipped_norm() -> None:
    data = tiny()
    trainer = trainer_for(data, epochs=1, batch_size=192, lr=1.0, grad_clip=1e-3, **PLAIN)
    model = network("mlp")
    masks = thin(model)
    masks.apply_(model)
    before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    Loop(trainer, model, data.train, stage="x", masks=masks).finish()
    after = nn.utils.parameters_to_vector(model.parameters()).detach()
    assert float((after - before).norm()) == pytest.approx(1e-3, rel=1e-3)


def test_restoring_forgets_momentum_and_keeps_the_masks() -> None:
    data = tiny()
    model = network("mlp")
    dense = state_of(model)
    masks = thin(model)
    loop = Loop(trainer_for(data), model, data.train, stage="x", masks=masks)
    next(iter(loop))
    assert loop.optimizer.state
    loop.restore(dense)
    assert not loop.optimizer.state
    for name, w in model.state_dict().items():
        expected = dense[name] * masks[name] if name in masks else dense[name]
        assert torch.equal(w, expected)


def test_bf16_runs_in_bf16_and_keeps_float32_weights() -> None:
    data = tiny(SHAPES["conv"])
    trainer = trainer_for(data, precision="bf16", channels_last=True)
    model = network("conv")
    inside: set[object] = set()
    first = model[0]  # type: ignore[index]
    first.register_forward_hook(
        lambda _, inputs, output: inside.add(
            (output.dtype, inputs[0].is_contiguous(memory_format=torch.channels_last))
        )
    )
    Loop(trainer, model, data.train, stage="x").finish()
    logits = trainer.predict(model, data.val).logits
    assert inside == {(torch.bfloat16, True)}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert logits.dtype == torch.float32
    assert bool(logits.isfinite().all())


def test_channels_last_changes_the_layout_and_not_the_result() -> None:
    data = tiny(SHAPES["conv"])
    ends = []
    for channels_last in (False, True):
        model = network("conv")
        trainer = trainer_for(data, channels_last=channels_last)
        Loop(trainer, model, data.train, stage="x", masks=thin(model)).finish()
        ends.append((model, trainer.predict(model, data.val).logits))
    weight = ends[1][0].get_parameter("4.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(ends[0][1], ends[1][1], rtol=1e-3, atol=1e-4)


def test_a_loss_that_is_not_finite_is_an_input_error() -> None:
    data = tiny()
    trainer = trainer_for(data, lr=1e30, schedule="constant")
    with pytest.raises(InputError, match=r"wild: the loss became (nan|inf) in epoch 0; lower"):
        Loop(trainer, network("mlp"), data.train, stage="wild").finish()


def test_a_loop_that_diverges_hands_over_its_last_good_state() -> None:
    data = tiny()
    for good in (0, 6, 12):
        trainer, model = trainer_for(data, epochs=4), network("mlp")
        loop = Loop(trainer, model, data.train, stage="x", snapshots={6, 12})

        def poison(step: int, good: int = good, weight: Tensor = model[0].weight) -> None:
            if step == good:
                with torch.no_grad():
                    weight[0, 0] = math.inf

        poison(0)
        with pytest.raises(Diverged, match=r"^x: the loss became (nan|inf)") as told:
            all(poison(log.step) is None for log in loop)
        assert told.value.step == good
        assert [log["step"] for log in trainer.history] == list(range(6, good + 1, 6))
        if good:
            assert equal(told.value.state or {}, loop.states[good])
        else:
            assert told.value.state is None


def test_weights_that_are_not_finite_are_told_before_a_loss_shows_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = tiny()
    trainer, model = trainer_for(data, epochs=3), network("mlp")
    loop = Loop(trainer, model, data.train, stage="x", snapshots={6})
    update = Loop._update

    def broken(self: Loop, loss: Any, rate: float) -> None:
        update(self, loss, rate)
        if self.step == 11:  # the last step of the second epoch, whose losses are all finite
            with torch.no_grad():
                self.model[0].weight[0, 0] = math.nan

    monkeypatch.setattr(Loop, "_update", broken)
    with pytest.raises(Diverged, match=r"^x: 0\.weight is no longer finite in epoch 1; ") as told:
        list(loop)
    assert len(trainer.history) == 1
    assert told.value.step == 6
    assert equal(told.value.state or {}, loop.states[6])


def test_a_start_outside_the_schedule_is_refused() -> None:
    data = tiny()
    with pytest.raises(ValueError, match="start is 12; the schedule has 12 steps"):
        Loop(trainer_for(data), network("mlp"), data.train, stage="x", start=12).finish()


@pytest.mark.parametrize("notion", ["class", "demographic-parity", "group"])
def test_the_log_of_an_epoch_says_what_happened(notion: str) -> None:
    full = tiny(groups=2)
    keep = full.train.y < 2
    train = full.train.subset(keep.nonzero()[:, 0])
    data = type(full)(train, full.cal, full.val, ("c0", "c1"), full.group_names)
    trainer = trainer_for(data, notion=notion, epochs=1, batch_size=len(train), lr=1e-12, **PLAIN)
    model = network("mlp", classes=2)
    Loop(trainer, model, train, stage="still").finish()
    logits = model(train.x).detach()
    right = logits.argmax(1) == train.y
    value = logits.argmax(1) == 1 if notion == "demographic-parity" else right
    cell = train.y if notion == "class" else train.group
    means = [float(value[cell == k].float().mean()) for k in (0, 1)]
    (log,) = trainer.history
    assert log["loss"] == pytest.approx(float(F.cross_entropy(logits, train.y)), rel=1e-5)
    assert log["accuracy"] == pytest.approx(float(right.float().mean()))
    assert log["worst"] == pytest.approx(min(means))
    assert log["worst_cell"] == trainer.cells.names[means.index(min(means))]
    assert (log["stage"], log["epoch"], log["step"], trainer.steps) == ("still", 0, 1, 1)


def test_an_epoch_without_a_known_cell_invents_no_number() -> None:
    data = tiny(groups=2)
    unknown = Split(data.train.x, data.train.y, torch.full_like(data.train.group, -1))
    trainer = trainer_for(data, notion="group", epochs=1)
    Loop(trainer, network("mlp"), unknown, stage="x").finish()
    (log,) = trainer.history
    assert log["worst"] is None
    assert log["worst_cell"] is None
    assert 0 < log["accuracy"] < 1


def test_progress_is_told_several_times_an_epoch_and_at_the_end() -> None:
    data = tiny()
    trainer = trainer_for(data, epochs=1, batch_size=8)
    told: list[tuple[str, int, int]] = []
    trainer.progress = lambda stage, step, total, now: told.append((stage, step, total))
    Loop(trainer, network("mlp"), data.train, stage="x").finish()
    assert told == [("x", 10, 24), ("x", 20, 24), ("x", 24, 24)]


def test_recalibration_sets_the_statistics_of_the_data_and_no_weight() -> None:
    data = tiny()
    model = nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 3))
    for _ in range(3):
        model(5 + 3 * data.train.x)
    before = state_of(model)
    model.eval()
    trainer_for(data, batch_size=192).recalibrate(model, data.train, 20)
    after = state_of(model)
    x = data.train.x
    assert torch.allclose(after["0.running_mean"], x.mean(0), atol=1e-6)
    assert torch.allclose(after["0.running_var"], x.var(0, correction=1), rtol=1e-5)
    assert all(torch.equal(before[n], after[n]) for n in before if "weight" in n or "bias" in n)
    assert model[0].momentum == 0.1
    assert not model.training


def test_recalibration_weighs_all_its_batches_alike() -> None:
    data = tiny()
    model = nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 3))
    trainer_for(data, batch_size=48).recalibrate(model, data.train, 4)
    assert torch.allclose(model[0].running_mean, data.train.x.mean(0), atol=1e-6)
    before = state_of(model)
    trainer_for(data).recalibrate(model, data.train, 0)
    assert equal(before, state_of(model))


def test_recalibration_sees_images_augmented_as_in_training() -> None:
    data = tiny((1, 8, 8))
    ones = replace(data.train, x=torch.ones_like(data.train.x))
    means = []
    for kinds in ((), ("crop",)):
        model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 3))
        trainer_for(data, augment=kinds).recalibrate(model, ones, 20)
        means.append(float(model[0].running_mean))
    # shifted by -1, 0 or 1 pixel each way, an image keeps (1 - 2/3/8)^2 of its area on average
    assert means[0] == pytest.approx(1)
    assert means[1] == pytest.approx((1 - 1 / 12) ** 2, abs=0.02)


@pytest.mark.parametrize("training", [True, False])
def test_prediction_is_in_order_in_evaluation_mode_and_leaves_the_mode(training: bool) -> None:
    data = tiny(SHAPES["conv"], groups=2)
    model = network("conv").train(training)
    before = state_of(model)
    logits, y, group = trainer_for(data).predict(model, data.val, batch_size=7)
    assert model.training is training
    assert equal(before, state_of(model))
    assert torch.equal(y, data.val.y)
    assert torch.equal(group, data.val.group)
    with torch.no_grad():
        assert torch.allclose(logits, model.eval()(data.val.x), atol=1e-5)
