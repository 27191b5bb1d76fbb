"""SafeCompress: exact counts, what dies and grows, how much of it, and when."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.schedules import cosine
from fairsparse.methods.safecompress.method import SafeCompress
from fairsparse.training import Dense, Loop, Run, State, state_of
from helpers import Bench, bench, network, tiny, trainer_for

SET: dict[str, Any] = {"branches": ("magnitude/random",)}
ALL = (
    "magnitude/random",
    "magnitude/gradient-largest",
    "magnitude/gradient-smallest",
    "taylor/random",
    "taylor/gradient-largest",
    "taylor/gradient-smallest",
)


class Watch:
    """Notes masks, weights and momentum whenever a loop is given masks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[int, MaskSet, State, State]] = []
        plain = Loop.masks.fset
        assert plain is not None

        def setter(loop: Loop, masks: MaskSet | None) -> None:
            assert plain is not None
            plain(loop, masks)
            if masks is not None:
                self.seen.append((loop.step, masks, state_of(loop.model), momentum(loop)))

        monkeypatch.setattr(Loop, "masks", Loop.masks.setter(setter))


def momentum(loop: Loop) -> State:
    """Every parameter's first buffer of its shape, by name."""
    found = {}
    for name, p in loop.model.named_parameters():
        for value in loop.optimizer.state.get(p, {}).values():
            if isinstance(value, Tensor) and value.shape == p.shape:
                found[name] = value.clone()
    return found


def counts(masks: MaskSet) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in masks.items()}


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("scope", ["erk", "layerwise", "global"])
@pytest.mark.parametrize("branch", ["magnitude/random", "taylor/gradient-largest"])
def test_counts_stay_exact_and_what_grows_was_dead_and_starts_at_nothing(
    monkeypatch: pytest.MonkeyPatch, branch: Any, scope: Any, optimizer: str
) -> None:
    method = SafeCompress(sparsity=0.7, interval=2, branches=(branch,), scope=scope)
    case = bench(method, "conv", epochs=3, optimizer=optimizer, lr=0.01)
    watch = Watch(monkeypatch)
    outcome = case.run(method)
    steps = [step for step, *_ in watch.seen]
    assert steps == [0, 2, 4, 6, 8, 10, 12]
    rates = [entry["death_rate"] for entry in outcome.rounds]
    first = counts(watch.seen[0][1])
    for (_, old, *_), (_, new, state, memory), rate in zip(
        watch.seen, watch.seen[1:], rates, strict=False
    ):
        assert counts(new) == first
        for name, mask in new.items():
            grown = mask & ~old[name]
            expected = min(-int(-rate * first[name] // 1), mask.numel() - first[name])
            assert int(grown.sum()) == int((old[name] & ~mask).sum()) == expected > 0
            assert not state[name][~(mask & old[name])].any()
            assert not memory[name][~(mask & old[name])].any()
            assert memory[name][mask & old[name]].any()
    assert outcome.masks == watch.seen[-1][1]
    assert outcome.path == []


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_dead_have_no_momentum_at_any_step(optimizer: str) -> None:
    method = SafeCompress(sparsity=0.7, interval=2, probe=1)
    case = bench(method, "conv", optimizer=optimizer, lr=0.01)
    checked = []
    plain = Loop._update

    def update(loop: Loop, *args: Any) -> None:
        plain(loop, *args)
        assert loop.masks is not None
        assert loop.masks.is_applied(loop.model)
        for name, mask in loop.masks.items():
            assert not momentum(loop)[name][~mask].any()
        checked.append(loop.step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "_update", update)
        case.run(method)
    assert checked == [0, 1, *[2] * 4, 3, *[4] * 4, 5, *[6] * 4, 7, *[8] * 4, 9, 10, 11]


def test_updates_follow_the_cosine_and_end_at_stop() -> None:
    method = SafeCompress(
        sparsity=0.7, interval=5, stop=0.5, death_first=0.4, death_last=0.1, **SET
    )
    case = bench(method, epochs=10)
    rounds = case.run(method).rounds
    assert [entry["step"] for entry in rounds] == [5, 10, 15, 20, 25]  # 30 is half of 60
    for entry in rounds:
        assert entry["death_rate"] == pytest.approx(cosine(entry["step"] / 30, 0.4, 0.1))
    assert rounds[2]["death_rate"] == pytest.approx(0.25)
    assert all(a["explored"] < b["explored"] <= 1 for a, b in itertools.pairwise(rounds))
    assert [entry["chosen"] for entry in rounds] == ["magnitude/random"] * 5


@pytest.mark.parametrize("kind", ["mlp", "conv"])
@pytest.mark.parametrize("dies", ["magnitude", "taylor"])
def test_the_rules_against_autograd_by_hand(kind: str, dies: str) -> None:
    """Deaths by |w| or (w g)^2; growth by the gradient where the dying are gone."""
    branches = tuple(b for b in ALL if b.startswith(dies) and "gradient" in b)
    method = SafeCompress(sparsity=0.6, interval=2, branches=branches)
    case, loop, masks = paused(method, kind)
    found = dict(zip(branches, method.candidates(loop, masks, case, 0.3), strict=True))
    generator = case.trainer.generator("slopes", loop.step)
    batch = case.data.train.batch(torch.randint(192, (32,), generator=generator))

    def slopes(alive: MaskSet) -> State:
        copy = network(kind)
        copy.load_state_dict(loop.model.state_dict())
        alive.apply_(copy)
        F.cross_entropy(copy.eval()(batch.x), batch.y).backward()
        return {n: p.grad.clone() for n, p in copy.named_parameters() if p.grad is not None}

    weights = state_of(loop.model)
    now = slopes(masks)
    survivors = {}
    for name, mask in masks.items():
        w = weights[name]
        worth = w.abs() if dies == "magnitude" else (w * now[name]).square()
        ranked = worth[mask].sort().values
        survivors[name] = mask & (worth >= ranked[-int(-0.3 * len(ranked) // 1)])
    after = slopes(MaskSet(survivors))
    for branch, child in found.items():
        for name, mask in masks.items():
            assert torch.equal(child[name] & mask, survivors[name])
            grown = child[name] & ~mask
            size = after[name].abs()
            could = ~mask & (size > 0)
            others = size[could & ~grown]
            assert grown.any()
            assert (grown & could).sum() == grown.sum()
            if branch.endswith("largest"):
                assert size[grown].min() >= others.max()
            else:
                assert size[grown].max() <= others.min()


def paused(method: SafeCompress, kind: str) -> tuple[Bench, Loop, MaskSet]:
    """A masked loop in the middle of an epoch."""
    case = bench(method, kind)
    weights = case.weights(method)
    generator = torch.Generator().manual_seed(0)
    masks = MaskSet({n: torch.rand(w.shape, generator=generator) < 0.4 for n, w in weights.items()})
    loop = Loop(case.trainer, case.model, case.data.train, stage="x", masks=masks)
    loop.advance(4)
    return case, loop, masks


class Layers(nn.Module):
    """The layers of the worked example of the Erdos-Renyi-Kernel densities."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 16, 3)
        self.b = nn.Conv2d(16, 32, 3)
        self.c = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x).relu()).relu().mean((2, 3)))


@pytest.mark.parametrize(
    ("density", "expected"), [(0.1, (0.256, 0.0519, 0.581)), (0.3, (0.944, 0.191, 1.0))]
)
def test_layers_start_with_the_densities_of_the_worked_example(
    density: float, expected: tuple[float, ...]
) -> None:
    method = SafeCompress(
        sparsity=1 - density, interval=3, prune_first=True, prune_last=True, **SET
    )
    data, model = tiny((3, 8, 8), classes=10), Layers()
    trainer = trainer_for(data, lr=1e-3)
    dense = Dense({0: state_of(model), 12: state_of(model)}, 12, val=None)  # type: ignore[arg-type]
    run = Run(model, data, trainer, dense)
    masks = method.run(run).masks
    for mask, share in zip((masks[f"{x}.weight"] for x in "abc"), expected, strict=True):
        assert float(mask.float().mean()) == pytest.approx(share, abs=0.5 / mask.numel() + 6e-4)
