"""What every registered model promises."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from contract.registries import check_settings, promises, registries
from fairsparse import InputError, make_config, prunable
from fairsparse.experiments.catalog import rows
from fairsparse.models import build

MODELS = registries()["model"]


class Promise(NamedTuple):
    """What it takes, options that together name all it has but a file of weights, and an extra."""

    shape: tuple[int, ...]
    options: tuple[dict[str, Any], ...] = ()
    extra: str = ""
    package: str = ""


SMALL_BERT = {"vocab_size": 40, "hidden": 12, "layers": 1, "heads": 3, "intermediate": 20}
STEMS = ({"stem": "imagenet"}, {"stem": "small"})
VISION = (STEMS, "vision", "torchvision")
# A model without an entry fails every test below.
SETTINGS = {
    "bert": Promise((12,), (SMALL_BERT, {"dropout": 0.5, "layers": 1}), "text", "transformers"),
    "lenet": Promise((1, 28, 28)),
    "mlp": Promise((13,), ({"hidden": (9, 7), "dropout": 0.5}, {"hidden": ()})),
    "mobilenet_v2": Promise((3, 32, 32), *VISION),
    "resnet10": Promise((3, 32, 32), *VISION),
    "resnet18": Promise((1, 40, 40), *VISION),
    "resnet20": Promise((3, 32, 32), ({"width": 4},)),
    "resnet50": Promise((3, 32, 32), *VISION),
    "resnet56": Promise((3, 32, 32), ({"width": 4},)),
    "small-cnn": Promise((1, 28, 28), ({"width": 4},)),
    # the large stem has 134 million weights, half a gigabyte
    "vgg16": Promise((3, 32, 32), ({"stem": "small"},), "vision", "torchvision"),
    "vgg16_bn": Promise((1, 32, 32), ({"stem": "small"},), "vision", "torchvision"),
}


def promise(name: str) -> Promise:
    return promises("model", name, SETTINGS, "test_models.py")


def inputs(name: str, n: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = promise(name).shape
    if len(shape) == 1 and promise(name).extra == "text":
        return torch.randint(-1, 40, (n, *shape), generator=generator)
    return torch.randn(n, *shape, generator=generator)


def test_the_table_is_complete() -> None:
    check_settings("model", MODELS, SETTINGS, "test_models.py")


@pytest.mark.parametrize("name", list(MODELS))
def test_logits_weights_and_seed(name: str) -> None:
    shape, before = promise(name).shape, torch.random.get_rng_state()
    model = build(name, shape, 3, seed=3)
    assert torch.equal(before, torch.random.get_rng_state())
    x = inputs(name, 5)
    logits = model.train()(x)
    assert logits.shape == (5, 3)
    logits.sum().backward()
    weights = prunable(model)
    assert weights
    assert all(w.grad is not None and w.grad.shape == w.shape for w in weights.values())
    model.eval()
    with torch.no_grad():
        five, again, one = model(x), model(x), model(x[:1])
    assert five.dtype == torch.float32
    assert bool(five.isfinite().all())
    assert torch.equal(five, again)
    # an example's logits do not depend on who else is in the batch
    torch.testing.assert_close(one, five[:1], atol=1e-4, rtol=1e-4)
    same, other = (build(name, shape, 3, seed=seed) for seed in (3, 4))
    assert all(map(torch.equal, model.parameters(), same.parameters()))
    assert not all(map(torch.equal, model.parameters(), other.parameters()))


@pytest.mark.parametrize("name", list(MODELS))
def test_documented_options_are_taken(name: str, tmp_path: Path) -> None:
    (row,) = (row for row in rows("models") if row.name == name)
    takes = list(inspect.signature(MODELS[name]).parameters)[2:]
    assert [option for option, *_ in row.options] == takes
    assert row.summary.endswith(".")
    used: set[str] = set()
    for options in promise(name).options:
        model = build(name, promise(name).shape, 2, **options).eval()
        with torch.no_grad():
            assert model(inputs(name, 2)).shape == (2, 2)
        used |= set(options)
    if "weights" in takes:
        saved = tmp_path / "weights.safetensors"
        first = build(name, promise(name).shape, 2).state_dict()
        save_file(first, saved)
        loaded = build(name, promise(name).shape, 2, seed=1, weights=saved).state_dict()
        assert all(torch.equal(loaded[key], first[key]) for key in first)
        used.add("weights")
    assert used == set(takes)


@pytest.mark.parametrize("name", list(MODELS))
def test_bad_options_are_refused_in_one_line(name: str) -> None:
    takes = list(inspect.signature(MODELS[name]).parameters)[2:]
    for option in ("typo", *takes):
        values = {"data": "digits", "model": {"name": name, option: {"no": "value"}}}
        with pytest.raises(InputError, match=rf"^model\.{option}") as caught:
            make_config(values)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", list(MODELS))
def test_a_missing_extra_is_said_in_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = promise(name)
    for package in ("torchvision", "torchvision.models", "transformers"):
        monkeypatch.setitem(sys.modules, package, None)
    if not told.extra:
        assert isinstance(build(name, told.shape, 2), nn.Module)
        return
    install = rf'needs {told.package}.*: pip install "fairsparse\[{told.extra}\]"'
    with pytest.raises(InputError, match=install) as caught:
        build(name, told.shape, 2)
    assert "\n" not in str(caught.value)
