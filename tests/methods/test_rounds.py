"""Rounds of FairPrune and FairGRAPE: stored, shared, taken up again, and trained at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fairsparse.core import InputError
from fairsparse.methods import METHODS
from fairsparse.methods.shared.rounds import Rounds
from fairsparse.training import run as runs
from fairsparse.training import state_of
from helpers import bench, equal

NAMES = ("fairprune", "fairgrape")


def made(name: str, **settings: Any) -> Rounds:
    method = METHODS[name](**{"levels": (0.3, 0.5, 0.7), **settings})  # type: ignore[call-arg]
    assert isinstance(method, Rounds)
    return method


def counted(monkeypatch: pytest.MonkeyPatch, stop_at: int = 0) -> list[str]:
    """Stages that were really computed; the one numbered `stop_at` is interrupted."""
    computed: list[str] = []
    plain = runs.stored

    def stored(trainer: Any, key: str, make: Any, **more: Any) -> Any:
        if more.get("needs"):  # the dense network
            return plain(trainer, key, make, **more)

        def counting() -> Any:
            computed.append(more["label"] or "finetune")
            if len(computed) == stop_at:
                raise KeyboardInterrupt
            return make()

        return plain(trainer, key, counting, **more)

    monkeypatch.setattr(runs, "stored", stored)
    return computed


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stop_at", [2, 4])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, stop_at: int
) -> None:
    method = made(name, sparsity=0.7, refinement={"strength": 0.5})
    whole = bench(method, "conv")
    expected = whole.run(method)
    with monkeypatch.context() as patch:
        counted(patch, stop_at)
        broken = bench(method, "conv", folder=tmp_path)
        with pytest.raises(KeyboardInterrupt):
            broken.run(method)
    computed = counted(monkeypatch)
    again = bench(method, "conv", folder=tmp_path)
    assert again.run(method) == expected
    assert len(computed) == 4 - (stop_at - 1)
    assert equal(state_of(again.model), state_of(whole.model))
    assert again.trainer.history == whole.trainer.history
    assert again.trainer.steps == whole.trainer.steps
    assert again.trainer.seconds.keys() == whole.trainer.seconds.keys()
    assert {f"{name} round 0.3", f"{name} 0.7"} <= whole.trainer.seconds.keys()


@pytest.mark.parametrize("name", NAMES)
def test_runs_to_different_sparsities_share_their_rounds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    nearer, farther = made(name, sparsity=0.5), made(name, sparsity=0.7)
    first = bench(nearer, folder=tmp_path).run(nearer)
    computed = counted(monkeypatch)
    second = bench(farther, folder=tmp_path).run(farther)
    assert computed == [f"{name} round 0.7", "finetune"]
    assert first.path == second.path[:2]
    alone = bench(farther)
    assert alone.run(farther).path == second.path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("share", "steps"), [(0.0, 0), (0.5, 6), (1.0, 12)])
def test_the_end_is_trained_for_its_share(name: str, share: float, steps: int) -> None:
    more = {"retrain": 0.0} if name == "fairgrape" else {}
    method = made(name, sparsity=0.5, finetune=share, lr_factor=0.5, **more)
    case = bench(method)
    before = case.trainer.steps
    outcome = case.run(method)
    assert case.trainer.steps - before == steps
    assert ("val_accuracy" in outcome.rounds[-1]) == bool(steps)
    assert len(outcome.rounds) == len(outcome.path) == 2
    trained = [log for log in case.trainer.history if log["stage"].startswith(name)]
    dense = [log for log in case.trainer.history if log["stage"] == "dense"]
    # the last epochs of the schedule, at half of their rates
    assert [log["lr"] for log in trained] == pytest.approx(
        [log["lr"] / 2 for log in dense[len(dense) - len(trained) :]]
    )


@pytest.mark.parametrize("name", NAMES)
def test_refinement_needs_training(name: str) -> None:
    method = made(name, finetune=0.0, refinement={})
    with pytest.raises(InputError, match="finetune above 0, or leave refinement out"):
        bench(method).run(method)


@pytest.mark.parametrize("name", NAMES)
def test_refinement_changes_the_training_and_not_the_masks(name: str) -> None:
    plain, refined = (
        made(name, sparsity=0.5, finetune=1.0, refinement=refinement)
        for refinement in (None, {"form": "weights", "strength": 1.0})
    )
    one, two = bench(plain), bench(refined)
    assert one.run(plain).masks == two.run(refined).masks
    assert not equal(state_of(one.model), state_of(two.model))
