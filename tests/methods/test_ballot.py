"""Ballot: its selection rule, its acceptance loop, its options, its repeatability."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fairsparse.core import InputError
from fairsparse.masks.criteria import scorers
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.schedules import levels
from fairsparse.masks.selection import n_kept, select
from fairsparse.methods.ballot import evidence
from fairsparse.methods.ballot import method as ballot
from fairsparse.methods.ballot.conflict import penalized
from fairsparse.methods.ballot.method import Ballot
from fairsparse.training import Round, derive, rewind_step, state_of
from helpers import ballot_of, bench, dead_everywhere, equal

QUICK: dict[str, Any] = {"tolerance": 1.0, "retries": 0}


def test_the_keep_score_in_closed_form() -> None:
    scores = {"w": torch.tensor([2.0, 2.0, 1.0])}
    kappa = {"w": torch.tensor([0.0, 1.0, 0.5])}
    half = torch.tensor([2.0, 1.0, 0.5**0.5])
    assert torch.allclose(penalized(scores, kappa, torch.log(torch.tensor(2.0)).item())["w"], half)
    assert torch.equal(penalized(scores, kappa, 0.0)["w"], scores["w"])
    assert float(penalized(scores, kappa, -1.0)["w"][1]) > 2


def test_conflict_by_rank_ignores_how_far_importances_lie_apart() -> None:
    scores = {"a": torch.tensor([1e-9, 3.0]), "b": torch.tensor([[7.0], [7.0], [1e9]])}
    kappa = {"a": torch.tensor([0.0, 1.0]), "b": torch.tensor([[0.0], [1.0], [1.0]])}
    got = penalized(scores, kappa, 0.5, "rank")
    # ranks 0, 1, 2, 2, 3 of three steps
    assert got["a"].tolist() == pytest.approx([0, 1 / 3 - 0.5])
    assert got["b"].flatten().tolist() == pytest.approx([2 / 3, 2 / 3 - 0.5, 1 - 0.5])


def planted(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Replace the measured conflict by known noise, filled in at the first selection."""
    known: dict[str, Tensor] = {}

    def combine(points: Any, weights: dict[str, Tensor], how: Any) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(7)
        known.update({n: torch.rand(w.shape, generator=generator) for n, w in weights.items()})
        return known

    monkeypatch.setattr(ballot, "combine", combine)
    return known


def first_selection(method: Ballot, **options: Any) -> tuple[Any, MaskSet, dict[str, Any]]:
    case = bench(method, **options)
    dense = MaskSet.dense(case.weights(method))
    parent = Round(dense, case.dense.final, {}, {12: case.dense.final})
    masks, facts = method.select(case, parent, method.sparsity, method.selection.lambda_conflict)
    return case, masks, facts


def test_masks_keep_the_top_of_importance_times_falling_conflict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method = ballot_of(
        sparsity=0.6, lambda_conflict=2.0, importance="magnitude", quota=1.0, floor=0
    )
    kappa = planted(monkeypatch)
    case, masks, facts = first_selection(method)
    weights = case.weights(method)
    scores = torch.cat(
        [(w.detach().abs() * torch.exp(-2 * kappa[n])).flatten() for n, w in weights.items()]
    )
    keep = n_kept(0.6, scores.numel())
    best = torch.zeros_like(scores, dtype=torch.bool)
    best[scores.topk(keep).indices] = True
    assert torch.equal(torch.cat([masks[n].flatten() for n in weights]), best)
    assert facts["lambda"] == 2.0


@pytest.mark.parametrize("quota", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("strength", [4.0, -4.0])
def test_conflict_decides_at_most_its_quota_of_the_removals(
    monkeypatch: pytest.MonkeyPatch, quota: float, strength: float
) -> None:
    planted(monkeypatch)

    def moved(limit: float) -> tuple[float, dict[str, Any]]:
        method = ballot_of(
            sparsity=0.6, lambda_conflict=strength, importance="magnitude", quota=limit
        )
        case, masks, facts = first_selection(method)
        magnitude = scorers.magnitude(case.weights(method))
        plain = select(magnitude, 0.6, floor=method.floor)
        removed = masks.n_total - masks.n_kept
        return sum(int((plain[n] & ~masks[n]).sum()) for n in masks) / removed, facts

    share, facts = moved(quota)
    assert share <= quota
    assert share == facts["decided_by_conflict"]
    free, _ = moved(1.0)
    assert free > 0.25
    assert abs(facts["lambda"]) < 4.0


def test_equal_accuracies_leave_the_plain_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        evidence, "fair_loss", lambda *_: lambda logits, batch: 0 * logits.sum(), raising=True
    )
    method = ballot_of(sparsity=0.6, lambda_conflict=3.0, importance="magnitude")
    case, masks, facts = first_selection(method)
    magnitude = scorers.magnitude(case.weights(method))
    assert masks == select(magnitude, 0.6, floor=method.floor)
    assert facts["opposed_units"] == facts["decided_by_conflict"] == 0


def test_real_conflict_reorders_and_the_reversed_sign_reorders_otherwise() -> None:
    digests = set()
    for strength in (0.0, 1.0, -1.0):
        method = ballot_of(sparsity=0.6, lambda_conflict=strength, importance="magnitude")
        digests.add(first_selection(method)[1].digest())
    assert len(digests) == 3


def test_a_random_mask_has_the_layer_counts_of_the_scored_one() -> None:
    options = {"sparsity": 0.8, "levels": (0.5,), **QUICK}
    scored, random = (ballot_of(mask=mask, **options) for mask in ("scored", "random"))
    _, one, _ = first_selection(scored)
    _, two, _ = first_selection(random)
    assert {n: int(m.sum()) for n, m in one.items()} == {n: int(m.sum()) for n, m in two.items()}
    assert one != two
    path = bench(random).run(random).path
    assert path[1] <= path[0]


@pytest.mark.parametrize(
    "options",
    [
        {"norm": "clip"},
        {"norm": "sym", "exact": True},
        {"alpha": 0.0},
        {"alpha": 0.5, "gate": "soft"},
        {"gate": "hard", "protect": 0.25},
        {"importance": "taylor"},
        {"importance": "lamp"},
        {"importance": "magnitude", "fair_loss": "var"},
        {"fair_loss": "rng", "mask": "random"},
        {"one_shot": True},
        {"points": (0.5,)},
        {"points": (0.3, 0.6), "prune_last": True},
        {"scope": "layerwise"},
        {"scope": "erk"},
        {"rewind_at": 0.0},
        {"lambda_conflict": -1.0},
    ],
    ids=lambda options: " ".join(f"{k}={v}" for k, v in options.items()),
)
def test_every_option_gives_exact_nested_applied_masks(options: dict[str, Any]) -> None:
    method = ballot_of(sparsity=0.8, levels=(0.4,), **QUICK, **options)
    case = bench(method)
    outcome = case.run(method)
    total = sum(w.numel() for w in case.weights(method).values())
    plan = [0.8] if method.search.one_shot else levels(0.8, explicit=(0.4,))
    assert [m.n_kept for m in outcome.path] == [n_kept(s, total) for s in plan]
    assert all(b <= a for a, b in zip(outcome.path, outcome.path[1:], strict=False))
    assert outcome.masks == outcome.path[-1]
    assert dead_everywhere(state_of(case.model), outcome.masks)
    assert outcome.status == "feasible"


def test_rounds_start_at_the_rewound_state(monkeypatch: pytest.MonkeyPatch) -> None:
    method = ballot_of(sparsity=0.6, levels=(0.3,), rewind_at=0.25, **QUICK)
    case = bench(method, "conv")
    starts = []
    plain = ballot.refine

    def refine(loop: Any, *args: Any, **kw: Any) -> Any:
        starts.append((state_of(loop.model), loop.masks, loop.start, bool(loop.optimizer.state)))
        return plain(loop, *args, **kw)

    monkeypatch.setattr(ballot, "refine", refine)
    case.run(method)
    assert len(starts) == 2
    for state, masks, start, memory in starts:
        rewound = case.dense.states[3]
        assert equal(state, {n: t * masks[n] if n in masks else t for n, t in rewound.items()})
        assert start == 3 == rewind_step(0.25, 12)
        assert not memory


def test_the_same_seed_repeats_every_bit_and_another_does_not() -> None:
    method = ballot_of(sparsity=0.8, levels=(0.5,), **QUICK)
    ends = []
    for seed in (0, 0, 1):
        case = bench(method, "conv", seed=seed)
        # what happened to the global generator before a run must not matter
        torch.manual_seed(derive(len(ends), "noise"))
        masks = case.run(method).masks
        ends.append((masks.digest(), state_of(case.model), case.trainer.history))
    assert ends[0][0] == ends[1][0] != ends[2][0]
    assert equal(ends[0][1], ends[1][1])
    assert ends[0][2] == ends[1][2]
    assert not equal(ends[0][1], ends[2][1])


def test_points_that_no_ticket_passes_are_refused_before_training() -> None:
    method = ballot_of(rewind_at=0.5, points=(0.25, 0.5))
    case = bench(method)
    steps = case.trainer.steps
    with pytest.raises(InputError, match=r"measured at .*0\.5.* start at step 6 of 12; give"):
        case.run(method)
    assert case.trainer.steps == steps


@pytest.mark.parametrize("points", [(), (0.0, 1.0), (0.5, 1.5)])
def test_points_lie_in_the_schedule(points: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="points"):
        ballot_of(points=points)


def test_group_cells_with_unknown_members_run() -> None:
    for notion in ("group", "class-group", "equalized-odds"):
        method = ballot_of(sparsity=0.5, one_shot=True, **QUICK)
        case = bench(method, groups=3, notion=notion)
        outcome = case.run(method)
        assert outcome.masks.n_kept == n_kept(0.5, outcome.masks.n_total)
