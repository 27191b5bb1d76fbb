"""Image networks of torchvision, with a head for the task and a stem for small images."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fairsparse.core import InputError
from fairsparse.models.registry import MODELS, image_channels

Stem = Annotated[
    Literal["auto", "imagenet", "small"],
    Field(description="how early the image shrinks; auto: small below 96 pixels a side"),
]
Weights = Annotated[
    Path | None, Field(description="file of pretrained weights: .safetensors, or a state dict")
]
Free = tuple[str, str]
"""How names of weights begin that a file may have in another shape: those of stem and head."""


def _resnet(model: Any, name: str, shape: tuple[int, ...], n_classes: int, small: bool) -> Free:
    if small:
        model.conv1 = nn.Conv2d(shape[0], model.conv1.out_channels, 3, 1, 1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        model.maxpool = nn.Identity()
    else:
        model.conv1 = _with_channels(model.conv1, shape[0])
    model.fc = nn.Linear(model.fc.in_features, n_classes)
    return "conv1.weight", "fc."


def _vgg(model: Any, name: str, shape: tuple[int, ...], n_classes: int, small: bool) -> Free:
    if min(shape[1:]) < 32:
        raise InputError(
            f"{name} halves an image five times and needs at least 32x32 pixels, got"
            f" {shape[2]}x{shape[1]}; set the data's size, or choose another model"
        )
    model.features[0] = _with_channels(model.features[0], shape[0])
    if small:
        model.avgpool = nn.AdaptiveAvgPool2d(1)
        model.classifier = nn.Sequential(nn.Linear(512, n_classes))
        return "features.0.weight", "classifier."
    model.classifier[6] = nn.Linear(model.classifier[6].in_features, n_classes)
    return "features.0.weight", "classifier.6."


def _mobilenet(model: Any, name: str, shape: tuple[int, ...], n_classes: int, small: bool) -> Free:
    if small:
        model.features[0][0].stride = (1, 1)
        model.features[2].conv[1][0].stride = (1, 1)
    model.features[0][0] = _with_channels(model.features[0][0], shape[0])
    model.classifier[1] = nn.Linear(model.classifier[1].in_features, n_classes)
    return "features.0.0.weight", "classifier.1."


_FITS = {"ResNet": _resnet, "VGG": _vgg, "MobileNetV2": _mobilenet}
_NETWORKS = {
    "resnet10": (
        "ResNet with one basic block a stage, 4.9M parameters, built of torchvision's parts."
    ),
    "resnet18": "ResNet-18 of torchvision, 11.2M parameters (He et al. 2015, arXiv:1512.03385).",
    "resnet50": "ResNet-50 of torchvision, 23.5M parameters (He et al. 2015, arXiv:1512.03385).",
    "vgg16": "VGG-16 of torchvision, 134M parameters, 15M for small images (arXiv:1409.1556).",
    "vgg16_bn": "VGG-16 of torchvision with BatchNorm, which trains from scratch more easily.",
    "mobilenet_v2": (
        "MobileNetV2 of torchvision, 2.2M parameters (Sandler et al. 2018, arXiv:1801.04381)."
    ),
}


def _register(name: str, summary: str) -> None:
    """Offer a network of torchvision, with stem and head made to fit the task."""

    def make(
        input_shape: tuple[int, ...],
        n_classes: int,
        *,
        stem: Stem = "auto",
        weights: Weights = None,
    ) -> nn.Module:
        image_channels(input_shape, name)
        models = _torchvision().models
        if name == "resnet10":  # torchvision has none of this depth
            model = models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1])
        else:
            model = getattr(models, name)()
        small = stem == "small" or (stem == "auto" and min(input_shape[1:]) < 96)
        free = _FITS[type(model).__name__](model, name, input_shape, n_classes, small)
        return _loaded(model, weights, free)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = summary
    MODELS.register(name)(make)


for _name, _summary in _NETWORKS.items():
    _register(_name, _summary)


def _with_channels(conv: nn.Conv2d, channels: int) -> nn.Conv2d:
    """A first convolution for images of so many channels."""
    if conv.in_channels == channels:
        return conv
    bias = conv.bias is not None
    size: Any = conv.kernel_size
    first = nn.Conv2d(channels, conv.out_channels, size, conv.stride, conv.padding, bias=bias)  # type: ignore[arg-type]
    nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
    if first.bias is not None:
        nn.init.zeros_(first.bias)
    return first


def _loaded(model: nn.Module, path: Path | None, free: Free) -> nn.Module:
    """Load pretrained weights; those that begin with one of `free` may have another shape."""
    if path is None:
        return model
    state, mine = read_weights(Path(path)), model.state_dict()
    fits = {n: t for n, t in state.items() if n in mine and t.shape == mine[n].shape}
    odd = [
        name
        for name in sorted(state.keys() | mine.keys())
        if name not in fits
        and not name.startswith(free)
        and not name.endswith("num_batches_tracked")
    ]
    if odd:
        what = "is not in it" if odd[0] not in state else "is unknown or of another shape"
        raise InputError(
            f"{path} does not fit the model: {odd[0]} {what} ({len(odd)} weights); give the file of"
            " this architecture"
        )
    model.load_state_dict({**mine, **fits})
    return model


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict from ``.safetensors``, or from torch's format without running code."""
    if not path.is_file():
        raise InputError(f"no file {path} with weights; correct its name")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile file can raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path} was not read ({reason}); give .safetensors, or a state dict as torch.save"
            " writes it"
        ) from None
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise InputError(f"{path} holds no state dict; save model.state_dict()")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def _torchvision() -> Any:
    try:
        importlib.import_module("torchvision.models")
        return importlib.import_module("torchvision")
    except (ImportError, RuntimeError) as error:  # another torch's build fails as it registers
        raise InputError(
            f"this model needs torchvision ({str(error).splitlines()[0]}): pip install"
            ' "fairsparse[vision]"'
        ) from None
