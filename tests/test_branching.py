"""A loop that pauses, goes back, and goes on, against one that never does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fairsparse.masks.maskset import MaskSet, prunable
from fairsparse.training import Loop, Trainer, in_turn, state_of
from helpers import SHAPES, equal, network, tiny, trainer_for

DATA = tiny(SHAPES["conv"])


def thin(model: nn.Module, phase: int = 0) -> MaskSet:
    """Every second prunable weight."""
    return MaskSet(
        {
            n: (torch.arange(w.numel()) % 2 == phase).view(w.shape)
            for n, w in prunable(model).items()
        }
    )


def memory(loop: Loop) -> list[Tensor]:
    values = [v for state in loop.optimizer.state.values() for v in state.values()]
    return [v.clone() for v in values if isinstance(v, Tensor)]


def start(model: nn.Module | None = None, **recipe: Any) -> tuple[Loop, nn.Module]:
    trainer = trainer_for(DATA, epochs=3, **recipe)
    model = model or network("conv")
    return Loop(trainer, model, DATA.train, stage="x", masks=thin(model)), model


@pytest.mark.parametrize("pieces", [(18,), (1,) * 18, (4, 5, 1, 8), (6, 6, 6), (5, 99)])
def test_pieces_add_up_to_the_whole_run_and_its_log(pieces: tuple[int, ...]) -> None:
    whole, model = start()
    logs = list(whole)
    loop, other = start()
    for steps in pieces:
        loop.advance(steps)
    assert equal(state_of(model), state_of(other))
    assert loop.trainer.history == whole.trainer.history
    assert (
        [log.epoch for log in logs] == [log["epoch"] for log in loop.trainer.history] == [0, 1, 2]
    )
    assert (loop.step, loop.trainer.steps) == (18, 18)


def test_an_unfinished_epoch_waits_to_be_logged_and_stop_ends_one() -> None:
    loop, _ = start()
    loop.stop = 8
    loop.advance(5)
    assert loop.trainer.history == []
    loop.advance(99)
    assert [(log["epoch"], log["step"]) for log in loop.trainer.history] == [(0, 6), (1, 8)]
    loop.advance(99)
    assert loop.step == loop.trainer.steps == 8


def test_iterating_takes_up_an_unfinished_epoch() -> None:
    whole, model = start()
    list(whole)
    loop, other = start()
    loop.advance(4)
    assert [log.step for log in loop] == [6, 12, 18]
    assert equal(state_of(model), state_of(other))
    assert loop.trainer.history == whole.trainer.history


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("at", [0, 4, 6])
def test_going_back_undoes_everything_but_the_steps_counted(optimizer: str, at: int) -> None:
    plain, model = start(optimizer=optimizer, lr=0.01)
    list(plain)
    loop, other = start(optimizer=optimizer, lr=0.01)
    loop.advance(at)
    point, before, held = loop.point(), state_of(other), memory(loop)
    for masks in (thin(other, 1), loop.masks):
        loop.masks = masks
        loop.advance(5)
        assert not equal(before, state_of(other))
        loop.back(point)
        assert equal(before, state_of(other))
        assert len(memory(loop)) == len(held)
        assert all(torch.equal(a, b) for a, b in zip(memory(loop), held, strict=True))
        assert loop.step == at
        assert loop.masks == thin(other)
    loop.advance(99)
    assert equal(state_of(model), state_of(other))
    assert loop.trainer.history == plain.trainer.history
    assert loop.trainer.steps == 18 + 10


def test_one_can_go_on_from_either_of_two_points() -> None:
    loop, model = start()
    loop.advance(4)
    fork, ends = loop.point(), []
    for phase in (0, 1):
        loop.back(fork)
        loop.masks = thin(model, phase)
        loop.advance(4)
        ends.append((loop.point(), state_of(model)))
    for point, state in ends:
        loop.back(point)
        assert equal(state_of(model), state)
        assert loop.step == 8
        assert len(loop.trainer.history) == 1
        assert loop.masks is point.masks
        assert loop.masks is not None
        assert loop.masks.is_applied(model)


def test_noise_is_the_same_for_all_who_go_on_from_a_point_and_new_further_on() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Dropout(0.5))
    loop = Loop(trainer_for(DATA, lr=1e-12), model, DATA.train, stage="x")
    drawn: list[Tensor] = []
    model[2].register_forward_hook(lambda _, inputs, output: drawn.append(output == 0))
    loop.advance(2)
    point = loop.point()
    for _ in range(2):
        loop.back(point)
        loop.advance(1)
    loop.advance(1)
    first, _, one, two, further = drawn
    assert torch.equal(one, two)
    assert not torch.equal(one, further)
    assert not torch.equal(one, first)


def ordered(trainer: Trainer, order: str) -> Loop:
    loop = Loop(trainer, network("conv"), DATA.train, stage=order, start=3, stop=16)
    loop.order = order
    return loop


def test_loops_in_turn_end_as_each_one_alone() -> None:
    ends, histories = [], []
    for order in ("order", "other"):
        trainer = trainer_for(DATA, epochs=3)
        loop = ordered(trainer, order)
        logs = list(loop)
        ends.append(state_of(loop.model))
        histories.append(trainer.history)
        assert [log.step for log in logs] == [6, 12, 16]
    assert not equal(*ends)
    trainer = trainer_for(DATA, epochs=3)
    loops = [ordered(trainer, order) for order in ("order", "other")]
    epochs = list(in_turn(*loops))
    assert [[log.step for log in logs] for logs in epochs] == [[6, 6], [12, 12], [16, 16]]
    assert trainer.steps == 2 * 13
    for i in range(2):
        assert equal(state_of(loops[i].model), ends[i])
        assert trainer.history[i::2] == histories[i]


def test_loops_in_turn_draw_noise_of_their_own_and_the_same_each_time() -> None:
    def drawn(noise: int) -> list[Tensor]:
        seen: list[Tensor] = []

        def noisy() -> nn.Module:
            model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Dropout(0.5))
            model[2].register_forward_hook(lambda _, inputs, output: seen.append(output == 0))
            return model

        trainer = trainer_for(DATA, epochs=2, lr=1e-12)
        loops = [Loop(trainer, noisy(), DATA.train, stage="x") for _ in range(2)]
        torch.manual_seed(noise)
        list(in_turn(*loops))
        return seen

    first, second = drawn(1), drawn(2)
    assert len(first) == 24
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert len({tuple(mask.flatten().tolist()) for mask in first}) == 24
