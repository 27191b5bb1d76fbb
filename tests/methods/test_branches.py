"""SafeCompress: which branch goes on and from where, what that costs, and that it repeats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fairsparse.core import InputError
from fairsparse.masks.maskset import MaskSet
from fairsparse.methods.safecompress import method as safecompress
from fairsparse.methods.safecompress.method import SafeCompress
from fairsparse.methods.safecompress.trial import Verdict
from fairsparse.training import Loop, Trainer, state_of
from helpers import bench, equal, network, trainer_for

SET: dict[str, Any] = {"branches": ("magnitude/random",)}
ALL = (
    "magnitude/random",
    "magnitude/gradient-largest",
    "magnitude/gradient-smallest",
    "taylor/random",
    "taylor/gradient-largest",
    "taylor/gradient-smallest",
)


def given_masks(monkeypatch: pytest.MonkeyPatch) -> dict[int, MaskSet]:
    """Step -> the masks that a loop was given there last, filled in as it runs."""
    given: dict[int, MaskSet] = {}
    plain = Loop.masks.fset

    def setter(loop: Loop, masks: MaskSet) -> None:
        assert plain is not None
        plain(loop, masks)
        given[loop.step] = masks

    monkeypatch.setattr(Loop, "masks", Loop.masks.setter(setter))
    return given


def test_one_branch_is_training_with_moving_masks_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method = SafeCompress(sparsity=0.7, interval=4, **SET)
    case = bench(method, "conv")
    given = given_masks(monkeypatch)
    before = case.trainer.steps
    outcome = case.run(method)
    assert case.trainer.steps - before == 12
    monkeypatch.undo()
    assert list(given) == [0, 4, 8]
    model = network("conv")
    loop = Loop(trainer_for(case.data), model, case.data.train, stage="x", masks=given[0])
    for step in (4, 8):
        loop.advance(step - loop.step)
        loop.masks = given[step]
    loop.advance(99)
    assert equal(state_of(model), state_of(case.model))
    assert outcome.rounds[0]["children"] == []
    assert outcome.rounds[0]["accuracy"] is None


def test_every_branch_is_tried_on_the_same_batches_and_the_best_goes_on() -> None:
    method = SafeCompress(sparsity=0.7, interval=4, probe=3, branches=ALL, cost_weight=0.0)
    case = bench(method, "conv")
    batches: list[tuple[int, Tensor]] = []
    plain = Trainer.training_batch

    def batch(trainer: Trainer, train: Any, index: Tensor, kind: str, step: int, **raw: Any) -> Any:
        batches.append((step, index))
        return plain(trainer, train, index, kind, step, **raw)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "training_batch", batch)
        outcome = case.run(method)
    # 12 steps on the way, and 5 rejected probes of 3 steps at each of steps 4 and 8
    assert len(batches) == 12 + 2 * 5 * 3
    assert case.trainer.steps == 12 + len(batches)
    for step in range(12):
        mine = [index for at, index in batches if at == step]
        assert len(mine) == (6 if step in (4, 5, 6, 8, 9, 10) else 1)
        assert all(torch.equal(mine[0], other) for other in mine)
    stage = [log for log in case.trainer.history if log["stage"] == "safecompress 0.7"]
    assert [(log["epoch"], log["step"]) for log in stage] == [(0, 6), (1, 12)]
    for entry in outcome.rounds:
        children = entry["children"]
        assert [child["branch"] for child in children] == list(ALL)
        most = max(child["accuracy"] for child in children)
        assert entry["accuracy"] == most
        assert entry["chosen"] == next(c["branch"] for c in children if c["accuracy"] == most)


@pytest.mark.parametrize("winner", [0, 1, 3])
def test_training_goes_on_from_the_end_of_the_chosen_probe(
    monkeypatch: pytest.MonkeyPatch, winner: int
) -> None:
    """A run that knew the winner beforehand, and a run that tried four, end alike."""
    method = SafeCompress(sparsity=0.7, interval=3, probe=2)
    verdicts = [Verdict(0.9 if i == winner else 0.5, 1.0) for i in range(4)]
    judge = Judge(verdicts)
    monkeypatch.setattr(safecompress, "Trial", lambda *_: judge)
    case = bench(method, "conv")
    outcome = case.run(method)
    assert [entry["chosen"] for entry in outcome.rounds] == [method.branches[winner]] * 2
    monkeypatch.undo()
    plain = SafeCompress.candidates

    def only(self: SafeCompress, *args: Any) -> list[MaskSet]:
        return [plain(method, *args)[winner]]

    monkeypatch.setattr(SafeCompress, "candidates", only)
    alone = SafeCompress(sparsity=0.7, interval=3, branches=(method.branches[winner],))
    other = bench(alone, "conv")
    assert other.run(alone).masks == outcome.masks
    assert equal(state_of(case.model), state_of(other.model))
    assert case.trainer.history == other.trainer.history
    assert case.trainer.steps == other.trainer.steps + 2 * 3 * 2


class Judge:
    """Gives the same verdicts in turn."""

    def __init__(self, verdicts: list[Verdict]) -> None:
        self.verdicts, self.dense, self.calls = verdicts, Verdict(0.9, 1.0), 0

    def __call__(self) -> Verdict:
        self.calls += 1
        return self.verdicts[(self.calls - 1) % len(self.verdicts)]


@pytest.mark.parametrize("test", ["fairness", "membership"])
def test_the_same_seed_gives_the_same_bits(test: Any) -> None:
    method = SafeCompress(sparsity=0.7, interval=4, test=test)
    ends = []
    for seed in (0, 0, 1):
        case = bench(method, seed=seed)
        torch.manual_seed(len(ends))
        outcome = case.run(method)
        ends.append((outcome, state_of(case.model)))
    assert ends[0][0] == ends[1][0]
    assert equal(ends[0][1], ends[1][1])
    assert ends[0][0].masks != ends[2][0].masks


def test_a_finished_stage_is_taken_from_the_store(tmp_path: Path) -> None:
    method = SafeCompress(sparsity=0.7, interval=4)
    first = bench(method, folder=tmp_path)
    outcome = first.run(method)
    again = bench(method, folder=tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(safecompress.SafeCompress, "candidates")
        assert again.run(method) == outcome
    assert equal(state_of(first.model), state_of(again.model))
    assert again.trainer.history == first.trainer.history
    assert again.trainer.steps == first.trainer.steps


def test_the_steps_fit_the_schedule_or_are_refused() -> None:
    assert SafeCompress().spans(30000) == (100, 50)
    assert SafeCompress().spans(400) == (20, 20)
    assert SafeCompress(interval=1000).spans(30000) == (1000, 250)
    assert SafeCompress(interval=30, probe=7).spans(30000) == (30, 7)
    assert SafeCompress(interval=25).updates(100) == [25, 50]
    assert SafeCompress(interval=25, stop=1.0).updates(100) == [25, 50, 75]
    assert SafeCompress().snapshots(1000) == set()
    with pytest.raises(InputError, match=r"trained for 9 steps, but the next update is 8 steps on"):
        SafeCompress(interval=8, probe=9).snapshots(100)
    with pytest.raises(InputError, match=r"interval is 75, but masks stay from step 75 of 100 on"):
        SafeCompress(interval=75).snapshots(100)
    SafeCompress(interval=75, sparsity=0.0).snapshots(100)


def test_what_goes_in_is_the_untrained_network() -> None:
    method = SafeCompress(sparsity=0.7, interval=4)
    one, two = bench(method, "conv"), bench(method, "conv")
    two.model.load_state_dict(network("conv", seed=5).state_dict())
    assert one.run(method) == two.run(method)
    assert equal(state_of(one.model), state_of(two.model))
