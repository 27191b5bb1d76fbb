"""Recipes: the schedules in closed form, augmentation against a naive version."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fairsparse.core import Batch, InputError
from fairsparse.data.task import Split
from fairsparse.training import Loop, Recipe, augment, derive
from helpers import network, tiny, trainer_for


@pytest.mark.parametrize(
    ("options", "rates"),
    [
        ({"schedule": "constant"}, {0: 1, 50: 1, 99: 1}),
        ({"schedule": "cosine"}, {0: 1, 25: (1 + math.sqrt(0.5)) / 2, 50: 0.5, 100: 0}),
        ({"schedule": "cosine", "warmup": 0.1}, {0: 0.1, 4: 0.5, 10: 1, 55: 0.5}),
        ({"schedule": "step"}, {49: 1, 50: 0.1, 74: 0.1, 75: 0.01}),
        ({"schedule": "step", "milestones": (0.2,), "decay": 0.5}, {19: 1, 20: 0.5, 99: 0.5}),
        ({"schedule": "constant", "warmup": 0.2}, {0: 0.05, 9: 0.5, 19: 1, 20: 1}),
        ({"schedule": "one-cycle"}, {0: 0.04, 15: 0.52, 30: 1, 65: 0.5, 100: 0}),
        ({"schedule": "one-cycle", "warmup": 0.5}, {0: 0.04, 25: 0.52, 50: 1, 75: 0.5}),
    ],
)
def test_schedules_in_closed_form(options: dict, rates: dict[int, float]) -> None:
    recipe = Recipe(lr=0.3, **options)
    got = {step: recipe.learning_rate(step, 100) / 0.3 for step in rates}
    assert got == pytest.approx(rates, abs=1e-12)


@given(
    schedule=st.sampled_from(["cosine", "step", "one-cycle", "constant"]),
    warmup=st.floats(0, 0.9),
    total=st.integers(1, 300),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_rates_are_positive_and_never_above_the_peak(
    schedule: str, warmup: float, total: int, data: st.DataObject
) -> None:
    step = data.draw(st.integers(0, total - 1))
    recipe = Recipe(lr=0.3, schedule=schedule, warmup=warmup)
    assert 0 < recipe.learning_rate(step, total) <= 0.3 * (1 + 1e-12)


def shifted(image: Tensor, dy: int, dx: int) -> Tensor:
    """Pixel by pixel: what was at (i + dy, j + dx) is at (i, j), zero outside."""
    out = torch.zeros_like(image)
    for i in range(image.shape[1]):
        for j in range(image.shape[2]):
            if 0 <= i + dy < image.shape[1] and 0 <= j + dx < image.shape[2]:
                out[:, i, j] = image[:, i + dy, j + dx]
    return out


def test_every_crop_is_a_shift_by_at_most_the_padding() -> None:
    x = torch.rand(60, 2, 16, 17, generator=torch.Generator().manual_seed(0)) + 0.1
    out = augment(x, ("crop",), torch.Generator().manual_seed(1))
    assert out.shape == x.shape
    found = []
    for image, cropped in zip(x, out, strict=True):
        fits = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            if torch.equal(shifted(image, dy, dx), cropped)
        ]
        assert len(fits) == 1
        found += fits
    assert {dy for dy, _ in found} == {dx for _, dx in found} == {-2, -1, 0, 1, 2}


def test_flips_mirror_about_half_of_the_images() -> None:
    x = torch.rand(2000, 1, 2, 3, generator=torch.Generator().manual_seed(0))
    out = augment(x, ("flip",), torch.Generator().manual_seed(1))
    same = (out == x).flatten(1).all(1)
    mirrored = (out == x[..., [2, 1, 0]]).flatten(1).all(1)
    assert bool((same ^ mirrored).all())
    # five standard deviations of a fair coin
    assert abs(int(mirrored.sum()) - 1000) < 5 * math.sqrt(500)


def test_augmentation_follows_its_generator() -> None:
    x = torch.rand(20, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    one, two, other = (
        augment(x, ("crop", "flip"), torch.Generator().manual_seed(s)) for s in (5, 5, 6)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_padding_is_zero_in_the_stored_units() -> None:
    x = torch.full((200, 1, 32, 32), 255, dtype=torch.uint8)
    out = augment(x, ("crop",), torch.Generator().manual_seed(0))
    assert out.dtype == torch.uint8
    assert set(out.unique().tolist()) == {0, 255}
    # a shift by (dy, dx) leaves (32 - |dy|)(32 - |dx|) pixels; at most four rows and columns go
    assert int((out > 0).flatten(1).sum(1).min()) >= 28 * 28


def test_every_step_draws_its_own_augmentation() -> None:
    ramp = torch.arange(8.0).expand(192, 1, 8, 8)
    train = Split(ramp, tiny().train.y, tiny().train.group)
    trainer = trainer_for(tiny(), epochs=2, batch_size=96, augment=("flip",))
    loop = Loop(trainer, network("conv"), train, stage="x")
    flips: list[tuple[bool, ...]] = []

    def loss(logits: Tensor, batch: Batch) -> Tensor:
        flips.append(tuple((batch.x[:, 0, 0, 0] > 0).tolist()))
        return logits.sum()

    loop.loss = loss
    list(loop)
    assert len(set(flips)) == len(flips) == 4


def test_augmenting_what_is_not_an_image_is_an_input_error() -> None:
    data = tiny()
    with pytest.raises(InputError, match=r"augment .* images .* got .*\(32, 8\)"):
        Loop(trainer_for(data, augment=("flip",)), network("mlp"), data.train, stage="x").finish()


def test_seeds_of_different_purposes_differ() -> None:
    seeds = {derive(s, *p) for s in (0, 1) for p in [("a", 1), ("a", 2), ("b", 1), ("a",)]}
    assert len(seeds) == 8


def test_bad_recipes_are_refused() -> None:
    for bad in ({"epochs": 0}, {"lr": 0}, {"momentum": 1.0}, {"schedule": "linear"}, {"lrr": 1}):
        with pytest.raises(ValueError):
            Recipe(**bad)
