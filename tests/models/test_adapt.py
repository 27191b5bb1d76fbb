"""Networks that take a dict or return an object: used as they are, and given back as they were."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import Dataset

import fairsparse
from fairsparse.core import InputError
from fairsparse.models import adapted, restored


class Named(nn.Module):
    """Takes two inputs by name, returns an object."""

    def __init__(self, plain: bool = False) -> None:
        super().__init__()
        self.one, self.two, self.plain = nn.Linear(4, 12), nn.Linear(12, 2), plain

    def forward(self, left: Tensor, right: Tensor | None = None) -> Any:
        extra = 0 if right is None else right.float().sum(1, keepdim=True)
        logits = self.two(self.one(left).relu()) + extra
        return logits if self.plain else SimpleNamespace(logits=logits)


class Whole(Named):
    """Takes the dict itself."""

    def forward(self, batch: dict[str, Tensor]) -> Any:  # type: ignore[override]
        return super().forward(batch["left"], batch["right"])


BATCH = {"left": torch.randn(3, 4), "right": torch.arange(6).view(3, 2)}


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (Named, BATCH),
        (lambda: Named(plain=True), BATCH),
        (Whole, BATCH),
        (Named, BATCH["left"]),
    ],
    ids=["by name", "plain", "whole", "tensor"],
)
def test_an_adapted_network_maps_inputs_to_logits(make: Any, x: Any) -> None:
    model = make()
    before = copy.deepcopy(model)
    names = [n for n, _ in model.named_parameters()]
    assert adapted(model, x) is model
    logits = model(x)
    given = before(**x) if isinstance(x, dict) and not isinstance(before, Whole) else before(x)
    assert torch.equal(logits, given if isinstance(given, Tensor) else given.logits)
    assert isinstance(model, Named)
    assert [n for n, _ in model.named_parameters()] == names
    zeros = {n: torch.zeros_like(p) for n, p in model.named_parameters()}
    assert functional_call(model, zeros, (x,)).shape == (3, 2)
    assert torch.equal(copy.deepcopy(model)(x), logits)
    assert type(restored(model)) is type(before)


def test_a_plain_network_is_left_alone() -> None:
    model = nn.Sequential(nn.Linear(4, 2))
    assert type(adapted(model, BATCH["left"])) is nn.Sequential
    assert type(adapted(model, torch.zeros(3, 9))) is nn.Sequential  # which its check refuses


class Pairs(Dataset[Any]):
    """Examples whose inputs are a dict."""

    def __init__(self, n: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.left = torch.randn(n, 4, generator=generator)
        self.right = torch.zeros(n, 2, dtype=torch.int64)
        self.y = (self.left[:, 0] > 0).long()

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> Any:
        return {"left": self.left[i], "right": self.right[i]}, int(self.y[i]), i % 2


@pytest.mark.parametrize("method", ["ballot", "magnitude", "bifp", "fair-scratch", "safecompress"])
def test_dicts_go_through_every_stage(method: str) -> None:
    task = fairsparse.task(train=Pairs(400, 0), test=Pairs(200, 1), name="pairs")
    model = Named()
    result = fairsparse.prune(
        model,
        task,
        method,
        0.5,
        cells="group",
        training={"epochs": 3, "batch_size": 16, "lr": 0.1},
        resamples=100,
    )
    assert type(result.model) is Named
    assert result.masks.is_applied(result.model)
    assert set(result.masks) == {"one.weight"}
    kept = result.masks["one.weight"]
    assert int(kept.sum()) == 24
    if method != "fair-scratch":
        assert result.record["validation"]["sparse"]["accuracy"] > 0.8


def test_a_data_set_that_changes_its_names_is_refused() -> None:
    class Changing(Pairs):
        def __getitem__(self, i: int) -> Any:
            x, *rest = super().__getitem__(i)
            return ({"left": x["left"]} if i == 7 else x, *rest)

    with pytest.raises(InputError, match=r"item 7 has inputs \['left'\], .* \['left', 'right'\]"):
        fairsparse.task(train=Changing(40, 0), test=Pairs(20, 1))


def test_images_are_not_augmented_in_a_dict() -> None:
    task = fairsparse.task(train=Pairs(400, 0), test=Pairs(200, 1))
    with pytest.raises(InputError, match=r"augment takes images .* got a dict"):
        fairsparse.prune(Named(), task, "magnitude", training={"augment": ["flip"]})
