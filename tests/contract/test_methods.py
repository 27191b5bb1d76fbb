"""What every registered method promises, whatever it does inside."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
import torch

from contract.registries import check_settings, promises
from fairsparse.experiments.catalog import ATTRIBUTE, STRUCTURE
from fairsparse.experiments.options import options_model, regrouped
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.selection import n_kept
from fairsparse.methods import METHODS, Method
from fairsparse.methods.method import Facts
from fairsparse.training import state_of
from helpers import bench, dead_everywhere, equal, fingerprint

LAYERS = {"grouping": "filter", "scope": "layerwise"}

# A method without an entry fails every test below: give it settings that end within a second.
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "dense": [{}],
    "magnitude": [
        {"sparsity": 0.7, "finetune": 0.5},
        {"sparsity": 0.7, "schedule": "gradual"},
        {"sparsity": 0.7, "scope": "erk", "refinement": {"strength": 0.5}},
        {"sparsity": 0.7, "criterion": "entropy", **LAYERS},
        {"sparsity": 0.5, "criterion": "obd", "grouping": "1:2"},
        {"sparsity": 0.7, "schedule": "gradual", "ramp": 0.4, "refinement": {"warmup": 0.0}},
    ],
    "lth": [
        {"sparsity": 0.7, "levels": (0.4,)},
        {"sparsity": 0.7, "levels": (0.4,), "refinement": {"form": "penalty"}},
        {"sparsity": 0.7, "levels": (0.4,), "criterion": "fpgm", **LAYERS},
        {"sparsity": 0.7, "levels": (0.4,), "criterion": "taylor", "grouping": "channel"},
        {"sparsity": 0.7, "levels": (0.4,), "budget": {"limit": 0.0, "measure": "variance"}},
    ],
    "init": [
        {"sparsity": 0.7},
        {"sparsity": 0.7, "criterion": "grasp", "refinement": {"form": "none"}},
        {"sparsity": 0.7, "criterion": "synflow", "scope": "erk"},
        {"sparsity": 0.5, "criterion": "random", "grouping": "1:2"},
    ],
    "ceag": [
        # buffers that fill within a step, so that the multipliers move
        {"sparsity": 0.7, "ramp": 0.4, "eps": 0.0, "dual_rate": 0.5, "memory": 2},
        {"sparsity": 0.7, "schedule": "one-shot", "memory": 2},
    ],
    "equalized-loss": [
        {"sparsity": 0.7, "ramp": 0.4, "dual_rate": 0.5},
        {"sparsity": 0.7, "schedule": "one-shot", "finetune": 0.5},
    ],
    "performance-weighted": [
        {"sparsity": 0.7, "theta": 0.3},
        {"sparsity": 0.7, "schedule": "gradual", "soft": False, "gamma": 0.5},
    ],
    "distill": [
        {"sparsity": 0.7},
        {"sparsity": 0.7, "schedule": "one-shot", "alpha": 0.5, "temperature": 2.0},
    ],
    "ballot": [
        {"sparsity": 0.7, "levels": (0.4,), "tolerance": 1.0},
        {"sparsity": 0.7, "levels": (0.4,), "tolerance": 0.0, "retries": 1, "scope": "layerwise"},
        {"sparsity": 0.7, "levels": (0.4,), "tolerance": 1.0, "budget": {"limit": 0.0}},
    ],
    "bifp": [
        {"sparsity": 0.7, "mask_lr": 0.5},
        {"sparsity": 0.7, "search": 0.5, "finetune": 0.5, "form": "squared", "scope": "erk"},
        {"sparsity": 0.7, "form": "hinge", "grouping": "channel", "implicit": 0.0},
    ],
    "fair-scratch": [
        {"sparsity": 0.7},
        {"sparsity": 0.7, "granularity": "filter", "init": "kaiming", "rest": "trained"},
        {"sparsity": 0.7, "granularity": "kernel", "term": "none", "scope": "erk", "keep": "last"},
        {"sparsity": 0.7, "term": "none", "refinement": {"strength": 0.5}},
    ],
    "fair-then-prune": [
        {"sparsity": 0.7},
        {"sparsity": 0.7, "fair_from": "dense", "fair_share": 0.5, "schedule": "gradual"},
        {"sparsity": 0.7, "term": "cells", "refinement": {"form": "none"}, **LAYERS},
    ],
    "prune-then-fair": [
        {"sparsity": 0.7},
        {"sparsity": 0.7, "levels": (0.4,), "finetune": 0.5, "refinement": {"form": "penalty"}},
        {"sparsity": 0.7, "schedule": "gradual", "fair_share": 0.5},
        {"sparsity": 0.7, "fraction": 0.5, "term": "cells", "refinement": {"form": "none"}},
    ],
    "fairprune": [
        {"sparsity": 0.7, "levels": (0.4,), "finetune": 0.0},
        {"sparsity": 0.7, "fraction": 0.5, "curvature": "gauss-newton", "examples": 32},
        {"sparsity": 0.7, "levels": (0.4,), "worst": 0.3, "refinement": {"strength": 0.5}},
    ],
    "fairgrape": [
        {"sparsity": 0.7, "levels": (0.4,), "batches": 2},
        {"sparsity": 0.7, "levels": (0.4,), "batches": 1, "order": "share", "retrain": 0.0},
        {"sparsity": 0.7, "fraction": 0.5, "batches": 1, "order": "product", "scope": "global"},
    ],
    "safecompress": [
        {"sparsity": 0.7, "interval": 3, "probe": 2},
        {"sparsity": 0.7, "interval": 3, "branches": ("magnitude/random",), "scope": "layerwise"},
        {
            "sparsity": 0.7,
            "interval": 4,
            "test": "membership",
            "rule": "lexicographic",
            "branches": ("taylor/random", "magnitude/gradient-largest"),
        },
        {"sparsity": 0.7, "interval": 3, "probe": 2, "stop": 0.5, "refinement": {"warmup": 0.0}},
    ],
}

TASKS: dict[str, dict[str, Any]] = {
    "plain": {"kind": "mlp"},
    "three groups": {"kind": "mlp", "groups": 3, "notion": "group"},
    "within a class": {"kind": "mlp", "groups": 3, "notion": "equalized-odds"},
    "class by group": {"kind": "mlp", "groups": 3, "notion": "class-group"},
    "rare class": {"kind": "mlp", "rare": True, "batch_size": 16},
    "convolutions": {"kind": "conv"},
    "residual": {"kind": "residual"},
    "one layer twice": {"kind": "twice"},
}


def settings_of(name: str) -> list[dict[str, Any]]:
    return promises("method", name, SETTINGS, "test_methods.py")


def methods(name: str) -> list[Method]:
    return [METHODS[name](**regrouped(METHODS[name], settings)) for settings in settings_of(name)]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", list(METHODS))
def test_contract(name: str, task: str) -> None:
    for method in methods(name):
        case = bench(method, **TASKS[task])
        states = {step: fingerprint(state) for step, state in case.dense.states.items()}
        splits = [
            (s.x.clone(), s.y.clone(), s.group.clone()) for s in (case.data.train, case.data.cal)
        ]
        settings = method.settings()
        parameters = dict(case.model.named_parameters(remove_duplicate=False))

        outcome = case.run(method)

        masks = outcome.masks
        weights = case.weights(method)
        assert {n: m.shape for n, m in masks.items()} == {n: w.shape for n, w in weights.items()}
        assert masks.n_kept == n_kept(method.sparsity, masks.n_total)
        end = state_of(case.model)
        assert dead_everywhere(end, masks)
        assert all(bool(t.isfinite().all()) for t in end.values())
        # a kept weight is exactly zero only by accident
        assert sum(int((end[n][m] == 0).sum()) for n, m in masks.items()) == 0
        assert all(b <= a for a, b in itertools.pairwise([*outcome.path, masks]))
        assert outcome.status in ("feasible", "eps_infeasible", "gap_infeasible")

        assert {step: fingerprint(state) for step, state in case.dense.states.items()} == states
        for before, now in zip(splits, (case.data.train, case.data.cal), strict=True):
            assert all(
                torch.equal(a, b) for a, b in zip(before, (now.x, now.y, now.group), strict=True)
            )
        assert method.settings() == settings
        left = dict(case.model.named_parameters(remove_duplicate=False))
        assert left.keys() == parameters.keys()
        assert all(left[n] is p and p.requires_grad for n, p in parameters.items())


@pytest.mark.parametrize("name", list(METHODS))
def test_the_same_seed_gives_the_same_bits_whatever_ran_before(name: str) -> None:
    for method in methods(name):
        ends = []
        for noise in (1, 2):
            case = bench(method, "conv")
            torch.manual_seed(noise)
            outcome = case.run(method)
            ends.append((outcome.masks.digest(), state_of(case.model), outcome.rounds))
        assert ends[0][0] == ends[1][0]
        assert equal(ends[0][1], ends[1][1])
        assert ends[0][2] == ends[1][2]


@pytest.mark.parametrize("name", list(METHODS))
def test_another_seed_gives_another_network(name: str) -> None:
    method = methods(name)[0]
    ends = []
    for seed in (0, 1):
        case = bench(method, seed=seed)
        case.run(method)
        ends.append(state_of(case.model))
    assert not equal(*ends)


@pytest.mark.parametrize("name", list(METHODS))
def test_no_sparsity_removes_nothing(name: str) -> None:
    method = METHODS[name](**{**settings_of(name)[0], "sparsity": 0.0})
    case = bench(method)
    assert case.run(method).masks == MaskSet.dense(case.weights(method))


@pytest.mark.parametrize("name", list(METHODS))
def test_a_method_describes_and_checks_itself(name: str) -> None:
    method = METHODS[name]
    assert (method.__doc__ or "").strip().splitlines()[0].endswith((".", ":"))
    assert method.reference
    facts = getattr(method, "facts", None)
    assert isinstance(facts, Facts), (
        f"method '{name}' needs facts: ClassVar[Facts] = Facts(structure=..., attribute=...,"
        " cost=...), see fairsparse.methods.method"
    )
    assert facts.structure in STRUCTURE
    assert facts.attribute in ATTRIBUTE
    # in dense trainings: a number, or a formula whose words are options of the method
    assert facts.cost[0].isdigit()
    names = set(re.findall(r"[a-z_]{4,}", facts.cost))
    words = {"when", "gradual", "shot", "rounds", "retries"}
    assert names - words <= set(options_model(method).model_fields)  # type: ignore[union-attr]
    for bad in ({"sparsity": 1.0}, {"sparsity": -0.1}, {"sparsty": 0.5}):
        with pytest.raises(ValueError):
            method(**bad)


def test_settings_name_only_what_exists() -> None:
    check_settings("method", METHODS, SETTINGS, "test_methods.py")
