"""Small networks, and any callable the user names."""

from __future__ import annotations

import importlib
import inspect
import itertools
import math
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fairsparse.registry import Registry
from fairsparse.types import InputError

MODELS: Registry[Callable[..., nn.Module]] = Registry("model")

Width = Annotated[int, Field(ge=1)]


@MODELS.register("mlp")
def mlp(
    input_shape: tuple[int, ...],
    n_classes: int,
    *,
    hidden: tuple[Width, ...] = (256, 128),
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
) -> nn.Module:
    """Fully connected network with ReLU; inputs are flattened."""
    sizes = [math.prod(input_shape), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for wide, narrow in itertools.pairwise(sizes):
        layers += [nn.Linear(wide, narrow), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(sizes[-1], n_classes))


@MODELS.register("small-cnn")
def small_cnn(input_shape: tuple[int, ...], n_classes: int, *, width: Width = 16) -> nn.Module:
    """Three 3x3 convolutions with BatchNorm and a hidden layer; 61k parameters at 28x28."""
    channels, side = image_channels(input_shape, "small-cnn"), min(input_shape[1:])
    layers: list[nn.Module] = []
    for out in (width, 2 * width, 4 * width):
        layers += [
            nn.Conv2d(channels, out, 3, padding=1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(),
        ]
        if side // 2 >= 3:
            layers.append(nn.MaxPool2d(2))
            side //= 2
        channels = out
    # pooling to 3x3 keeps the number of parameters the same at every image size
    return nn.Sequential(
        *layers,
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(9 * channels, 4 * width),
        nn.ReLU(),
        nn.Linear(4 * width, n_classes),
    )


@MODELS.register("lenet")
def lenet(input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
    """LeNet-5 with ReLU and max pooling (LeCun et al. 1998)."""
    channels = image_channels(input_shape, "lenet")
    if min(input_shape[1:]) < 12:
        raise InputError(f"lenet needs images of at least 12x12, got {input_shape[1:]}")
    sides = [((side + 4 - 4) // 2 - 4) // 2 for side in input_shape[1:]]
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * sides[0] * sides[1], 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, n_classes),
    )


class _Block(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.stride, self.extra = stride, outside - inside

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.extra:
            # option A of the paper: subsample and pad with zero channels, no parameters
            half = self.extra // 2
            x = F.pad(
                x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.extra - half)
            )
        return F.relu(x + y)


class CifarResNet(nn.Module):
    """ResNet for 32x32 images with three stages of n blocks (He et al. 2015, arXiv:1512.03385).

    Parameters
    ----------
    channels, n_classes : int
    blocks : int
        Blocks per stage; the depth is ``6 * blocks + 2``.
    width : int
        Filters of the first stage; they double at each stage.
    """

    def __init__(self, channels: int, n_classes: int, blocks: int, width: int = 16) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        stages: list[nn.Module] = []
        inside = width
        for stage in range(3):
            for block in range(blocks):
                outside = width << stage
                stages.append(_Block(inside, outside, 2 if stage and not block else 1))
                inside = outside
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(inside, n_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, channels, H, W) to logits (B, C)."""
        x = self.stages(F.relu(self.bn(self.conv(x))))
        return self.fc(x.mean((2, 3)))


@MODELS.register("resnet20")
def resnet20(input_shape: tuple[int, ...], n_classes: int, *, width: Width = 16) -> nn.Module:
    """CIFAR ResNet with 20 layers, 0.27M parameters (He et al. 2015, arXiv:1512.03385)."""
    return CifarResNet(image_channels(input_shape, "resnet20"), n_classes, 3, width)


@MODELS.register("resnet56")
def resnet56(input_shape: tuple[int, ...], n_classes: int, *, width: Width = 16) -> nn.Module:
    """CIFAR ResNet with 56 layers, 0.85M parameters (He et al. 2015, arXiv:1512.03385)."""
    return CifarResNet(image_channels(input_shape, "resnet56"), n_classes, 9, width)


def image_channels(input_shape: tuple[int, ...], model: str) -> int:
    """Channels of the task's images; inputs that are no images are an `InputError`."""
    if len(input_shape) != 3:
        raise InputError(
            f"{model} takes images (channels, height, width), the task's inputs have shape"
            f" {input_shape}; use mlp, or a model of your own as module:factory"
        )
    return input_shape[0]


def factory(name: str) -> Callable[..., nn.Module]:
    """Return a registered model's constructor, or what ``module:factory`` or ``hf:NAME`` names.

    Raises
    ------
    InputError
        When the name is unknown, or the module or the callable is not found.
    """
    if ":" not in name:
        return MODELS[name]
    if name.startswith("hf:"):
        from fairsparse.models.language import hugging_face

        return hugging_face(name.removeprefix("hf:"))
    module_name, _, attribute = name.partition(":")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module raises while it is imported
        if isinstance(error, ModuleNotFoundError) and error.name == module_name.split(".")[0]:
            raise InputError(
                f"model '{name}': no module '{module_name}' on the Python path or in {here}"
            ) from None
        raise InputError(
            f"model '{name}': importing {module_name} failed with {type(error).__name__}: {error}"
        ) from error
    made = getattr(module, attribute, None)
    if not callable(made):
        raise InputError(f"model '{name}': {module_name} has no callable '{attribute}'")
    return made


def build(
    name: str, input_shape: tuple[int, ...], n_classes: int, *, seed: int = 0, **options: Any
) -> nn.Module:
    """Make a model with weights drawn from `seed`, leaving the global generator as it was.

    Parameters
    ----------
    name : str
        A registered name, or ``module:factory`` for a callable that takes ``(input_shape,
        n_classes, **options)`` or no arguments at all.
    input_shape : tuple of int
        Shape of one input, without the batch.
    n_classes : int

    Raises
    ------
    InputError
        When the model does not take such inputs, or gives another number of outputs.
    """
    make = factory(name)
    arguments: tuple[Any, ...] = (input_shape, n_classes)
    if not options and not _takes(make, arguments) and _takes(make, ()):
        arguments = ()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = make(*arguments, **options)
        except TypeError as error:
            raise InputError(f"model '{name}': {str(error).splitlines()[0]}") from None
    if not isinstance(model, nn.Module):
        raise InputError(f"model '{name}' made a {type(model).__name__}; give a torch nn.Module")
    return model


def _takes(make: Callable[..., nn.Module], arguments: tuple[Any, ...]) -> bool:
    try:
        inspect.signature(make).bind(*arguments)
    except TypeError:
        return False
    except ValueError:
        return True  # written in C, without a signature: calling it is the only way to know
    return True


def check_outputs(model: nn.Module, x: Tensor, n_classes: int) -> None:
    """Raise `InputError` unless `model` maps two inputs ``x`` (2, *f) to logits (2, n_classes)."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            logits = model(x)
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise InputError(
            f"the model does not take inputs of shape {tuple(x.shape)}: {first}"
        ) from None
    finally:
        model.train(training)
    if not isinstance(logits, Tensor) or logits.shape != (len(x), n_classes):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(
            f"the model gives outputs of shape {got} for {len(x)} inputs; the task has {n_classes}"
            f" classes, so ({len(x)}, {n_classes}) is needed: change the last layer's width"
        )
