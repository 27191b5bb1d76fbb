"""torchvision's networks: published sizes, stems, pretrained files, and masks that fit them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from cutting import assert_goes
from fairsparse.core import InputError
from fairsparse.masks.criteria.scorers import magnitude
from fairsparse.masks.maskset import prunable
from fairsparse.masks.selection import select
from fairsparse.masks.structure.channels import channels
from fairsparse.masks.structure.removal import shared
from fairsparse.models import build

NAMES = ["resnet10", "resnet18", "resnet50", "vgg16", "vgg16_bn", "mobilenet_v2"]
LARGE = (3, 224, 224)


def size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "millions"),
    # as torchvision documents them, for 1,000 classes
    [("resnet18", 11.69), ("resnet50", 25.56), ("mobilenet_v2", 3.50), ("vgg16", 138.36)],
)
def test_sizes_are_the_published_ones(name: str, millions: float) -> None:
    with torch.device("meta"):
        model = getattr(torchvision.models, name)(num_classes=1000)
    assert round(size(model) / 1e6, 2) == millions
    if name != "vgg16":  # half a gigabyte
        assert size(build(name, LARGE, 1000)) == size(model)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels_", [1, 3])
def test_the_small_stem_keeps_more_of_the_image(name: str, channels_: int) -> None:
    shape = (channels_, 64, 64)
    model = build(name, shape, 4).eval()
    seen: list[int] = []

    def watch(module: nn.Module, x: Any, y: torch.Tensor) -> None:
        seen.append(y.shape[-1])

    last = [m for m in model.modules() if isinstance(m, nn.Conv2d)][-1]
    hook = last.register_forward_hook(watch)
    with torch.no_grad():
        assert model(torch.zeros(1, *shape)).shape == (1, 4)
        hook.remove()
        if name.startswith(("resnet", "mobilenet")):
            plain = build(name, shape, 4, stem="imagenet").eval()
            last = [m for m in plain.modules() if isinstance(m, nn.Conv2d)][-1]
            last.register_forward_hook(watch)
            assert plain(torch.zeros(1, *shape)).shape == (1, 4)
            assert seen[0] == 4 * seen[1]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
@pytest.mark.parametrize("end", [".pth", ".safetensors"])
def test_pretrained_weights_come_from_a_local_file(tmp_path: Path, name: str, end: str) -> None:
    given = getattr(torchvision.models, name)(num_classes=1000)
    path = tmp_path / f"weights{end}"
    if end == ".pth":
        torch.save({"state_dict": {f"module.{k}": v for k, v in given.state_dict().items()}}, path)
    else:
        save_file(given.state_dict(), path)
    for shape in (LARGE, (1, 32, 32)):  # the second with a new stem
        model = build(name, shape, 7, weights=path)
        mine, theirs = model.state_dict(), given.state_dict()
        same = {
            k for k in mine if mine[k].shape == theirs[k].shape and torch.equal(mine[k], theirs[k])
        }
        first = "conv1.weight" if name == "resnet18" else "features.0.0.weight"
        changed = {k for k in mine if k not in same}
        heads = {k for k in mine if k.startswith(("fc.", "classifier."))}
        assert changed == heads | (set() if shape == LARGE else {first})


def test_files_that_do_not_fit_are_refused_in_one_line(tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    torch.save(torchvision.models.mobilenet_v2(num_classes=5).state_dict(), other)
    half = tmp_path / "half.safetensors"
    state = torchvision.models.resnet18().state_dict()
    save_file({k: v for k, v in state.items() if not k.startswith("layer3")}, half)
    text, code = tmp_path / "text.pth", tmp_path / "code.pth"
    text.write_text("no weights")
    torch.save(torchvision.models.resnet18(), code)  # a pickled module
    listed = tmp_path / "list.pth"
    torch.save([torch.zeros(2)], listed)
    for path, message in [
        (other, "does not fit the model: "),
        (half, r"layer3\.0\.bn1\.bias is not in it \(\d+ weights\)"),
        (text, "was not read"),
        (code, "was not read"),
        (listed, "holds no state dict"),
        (tmp_path / "absent.pth", "no file"),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            build("resnet18", (3, 32, 32), 5, weights=path)
        assert "\n" not in str(caught.value)


def test_vgg_needs_32_pixels() -> None:
    with pytest.raises(InputError, match=r"vgg16 halves .* got 28x28"):
        build("vgg16", (1, 28, 28), 10)
    assert size(build("vgg16", (3, 32, 32), 10)) < 15e6


@pytest.mark.parametrize("name", NAMES)
def test_channels_go_without_a_trace(name: str) -> None:
    model, x = build(name, (3, 32, 32), 10), torch.randn(6, 3, 32, 32)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias, 0.0, 0.3)  # so that an empty filter is not silent
            module.momentum = 1.0
    with torch.no_grad():
        model(x)  # statistics that fit
    scores = shared(channels(model, x[:2]), magnitude(prunable(model)))
    masks = select(scores, 0.3, grouping="filter", floor=0.3)
    gone = assert_goes(model, masks, x, tolerance=1e-4)
    assert sum(len(index) for index in gone.filters.values()) > 20
