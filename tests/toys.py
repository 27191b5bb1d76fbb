"""Tiny networks and batches that the tests of criteria share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fairsparse.core import Batch


def loss(logits: Tensor, batch: Batch) -> Tensor:
    return cross_entropy(logits, batch.y)


def batches(
    sizes: tuple[int, ...] = (4, 4, 3), shape: tuple[int, ...] = (2, 5, 5), seed: int = 1
) -> list[Batch]:
    generator = torch.Generator().manual_seed(seed)
    return [
        Batch(
            torch.randn(size, *shape, generator=generator),
            torch.randint(3, (size,), generator=generator),
            torch.zeros(size, dtype=torch.int64),
        )
        for size in sizes
    ]


def together(parts: list[Batch]) -> Batch:
    return Batch(*(torch.cat(column) for column in zip(*parts, strict=True)))


def relu_net(seed: int = 0, bias: bool = False) -> nn.Sequential:
    """Convolutions, pooling and linear layers, positively homogeneous without bias."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=bias),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 1, bias=bias),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24, 8, bias=bias),
        nn.ReLU(),
        nn.Linear(8, 3, bias=bias),
    )


def norm_net(trained: bool = True) -> nn.Sequential:
    """With BatchNorm; `trained` gives it statistics and shifts of its own."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 6),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(6, 3),
    )
    if trained:
        settle(model)
    return model


def settle(model: nn.Module) -> None:
    """Give every BatchNorm statistics, weights and shifts as training leaves them."""
    generator = torch.Generator().manual_seed(7)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            n = module.num_features
            with torch.no_grad():
                module.running_mean.copy_(torch.randn(n, generator=generator))
                module.running_var.copy_(torch.rand(n, generator=generator) + 0.5)
                module.weight.copy_(torch.randn(n, generator=generator))
                module.bias.copy_(torch.randn(n, generator=generator))
                module.num_batches_tracked.fill_(9)
