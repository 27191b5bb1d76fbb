"""Small networks."""

from __future__ import annotations

import itertools
import math
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fairsparse.core import InputError
from fairsparse.models.registry import MODELS, image_channels

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

    The depth is ``6 * blocks + 2``; the first stage has `width` filters, which double at each.
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
