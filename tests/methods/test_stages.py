"""Stored rounds: shared between runs, and taken up after an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fairsparse.experiments.options import regrouped
from fairsparse.methods import lth
from fairsparse.methods.ballot import method as ballot
from fairsparse.methods.ballot.method import Ballot
from fairsparse.methods.lth import LotteryTicket
from fairsparse.training import state_of
from fairsparse.training.refinement import Refinement
from fairsparse.training.refinement.offsets import fold_, last_bias
from helpers import Bench, ballot_of, bench, equal

LEVELS = (0.3, 0.6)


def counting(monkeypatch: pytest.MonkeyPatch, module: Any) -> list[str]:
    """Names of the rounds that were really trained."""
    trained: list[str] = []
    plain = module.refine

    def refine(loop: Any, *args: Any, **kw: Any) -> Any:
        trained.append(loop.stage)
        return plain(loop, *args, **kw)

    monkeypatch.setattr(module, "refine", refine)
    return trained


@pytest.mark.parametrize(
    ("make", "module"),
    [
        (lambda s: LotteryTicket(sparsity=s, levels=(0.5, 0.9, 0.95)), lth),
        (lambda s: ballot_of(sparsity=s, levels=(0.5, 0.9, 0.95), tolerance=1.0), ballot),
    ],
    ids=["lth", "ballot"],
)
def test_runs_to_different_sparsities_share_their_rounds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make: Any, module: Any
) -> None:
    trained = counting(monkeypatch, module)
    nearer, farther = make(0.9), make(0.95)
    first = bench(nearer, folder=tmp_path).run(nearer)
    assert len(trained) == 2
    shared = bench(farther, folder=tmp_path)
    second = shared.run(farther)
    assert [t.split()[1] for t in trained] == ["0.5", "0.9", "0.95"]
    assert first.path == second.path[:2]
    assert first.rounds == second.rounds[:2]
    alone = bench(farther)
    assert alone.run(farther).path == second.path
    assert equal(state_of(alone.model), state_of(shared.model))


def test_a_changed_option_shares_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trained = counting(monkeypatch, lth)
    for floor in (0.0, 0.01):
        method = LotteryTicket(sparsity=0.5, levels=(0.5,), floor=floor)
        bench(method, folder=tmp_path).run(method)
    assert len(trained) == 2


@pytest.mark.parametrize(
    ("method", "module"),
    [
        (LotteryTicket(sparsity=0.8, levels=LEVELS), lth),
        (ballot_of(sparsity=0.8, levels=LEVELS, tolerance=0.0, retries=1), ballot),
        (ballot_of(sparsity=0.8, levels=LEVELS, tolerance=1.0, rewind_at="search"), ballot),
    ],
    ids=["lth", "ballot", "ballot-search"],
)
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, method: Any, module: Any
) -> None:
    whole = bench(method, "conv", epochs=3)
    expected = whole.run(method)
    calls = 0
    plain = module.refine

    def refine(loop: Any, *args: Any, **kw: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            next(iter(loop))
            raise KeyboardInterrupt
        return plain(loop, *args, **kw)

    with monkeypatch.context() as patch:
        patch.setattr(module, "refine", refine)
        broken = bench(method, "conv", epochs=3, folder=tmp_path)
        with pytest.raises(KeyboardInterrupt):
            broken.run(method)
    trained = counting(monkeypatch, module)
    again: Bench = bench(method, "conv", epochs=3, folder=tmp_path)
    outcome = again.run(method)
    assert outcome == expected
    assert equal(state_of(again.model), state_of(whole.model))
    assert again.trainer.history == whole.trainer.history
    assert again.trainer.steps == whole.trainer.steps
    assert again.trainer.seconds.keys() == whole.trainer.seconds.keys()
    again_trained = len(trained)
    # the first round came from the store, the others did not
    assert again_trained >= 2
    assert sum(log["stage"].startswith(trained[0]) for log in again.trainer.history) > 0
    finished = bench(method, "conv", epochs=3, folder=tmp_path)
    assert finished.run(method) == expected
    assert len(trained) == again_trained
    assert finished.trainer.history == whole.trainer.history


KINDS = pytest.mark.parametrize(("kind", "module"), [(LotteryTicket, lth), (Ballot, ballot)])
REFINED: dict[str, Any] = {"sparsity": 0.8, "levels": LEVELS, "refinement": Refinement()}


@KINDS
def test_the_next_rounds_are_held_to_what_a_ticket_reached(
    monkeypatch: pytest.MonkeyPatch, kind: Any, module: Any
) -> None:
    plain = module.refine
    given: list[float | None] = []

    def refine(*args: Any, reach: float | None, **kw: Any) -> Any:
        given.append(reach)
        log = {**plain(*args, reach=reach, **kw), "val_drop": 0.0}  # no round is repeated
        return {**log, "reach": 0.9 + len(given) / 100}

    monkeypatch.setattr(module, "refine", refine)
    method = kind(**REFINED)
    bench(method, "conv", epochs=2).run(method)
    assert given == [None, 0.91, 0.92]


@KINDS
def test_training_that_goes_on_does_so_without_the_folded_offsets(
    monkeypatch: pytest.MonkeyPatch, kind: Any, module: Any
) -> None:
    plain = module.refine
    starts, ends = [], []
    offsets = torch.tensor([1.0, -2.0, 1.0])

    def refine(loop: Any, *args: Any, **kw: Any) -> Any:
        starts.append(last_bias(loop.model).clone())
        log = plain(loop, *args, **kw)
        ends.append(last_bias(loop.model).clone())
        fold_(loop.model, offsets)
        return {**log, "val_drop": 0.0, "offsets": offsets.tolist()}

    monkeypatch.setattr(module, "refine", refine)
    method = kind(**regrouped(kind, {"rewind": "lr", **REFINED}))
    case = bench(method, "conv", epochs=2)
    case.run(method)
    assert len(ends) == 3
    for start, end in zip(starts[1:], ends, strict=False):
        torch.testing.assert_close(start, end)
    torch.testing.assert_close(last_bias(case.model), ends[-1] + offsets)
