"""How a network is trained: the options, the schedule, the optimizer, the augmentation."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import asdict
from typing import Annotated, Any, Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked
from torch import Tensor, nn
from torch.nn import functional as F

from fairsparse.core import InputError


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class Recipe:
    """How a network is trained; the same for the dense network and for every method."""

    epochs: Annotated[int, Field(ge=1, description="passes over the training split")] = 10
    batch_size: Annotated[int, Field(ge=1)] = 128
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: Annotated[float, Field(gt=0, description="peak learning rate")] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1, description="of SGD")] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    schedule: Literal["cosine", "step", "one-cycle", "constant"] = "cosine"
    warmup: Annotated[float, Field(ge=0, lt=1, description="share of the steps, linear")] = 0.0
    milestones: Annotated[
        tuple[float, ...], Field(description="shares of the steps at which `step` decays")
    ] = (0.5, 0.75)
    decay: Annotated[float, Field(gt=0, le=1, description="factor at each milestone")] = 0.1
    augment: Annotated[
        tuple[Literal["crop", "flip"], ...],
        Field(description="random 4-pixel shifts, horizontal flips"),
    ] = ()
    precision: Annotated[
        Literal["fp32", "bf16", "auto"],
        Field(
            description="bf16: autocast; weights stay float32; auto: what a probe finds faster,"
            " as the record has it"
        ),
    ] = "fp32"
    channels_last: Annotated[bool, Field(description="faster convolutions on most CPUs")] = False
    grad_clip: Annotated[float, Field(ge=0, description="largest gradient norm; 0: off")] = 0.0
    workers: Annotated[
        int, Field(ge=0, le=256, description="processes that read ahead what is not in memory")
    ] = 0

    def key(self) -> dict[str, Any]:
        """The options that change what is trained."""
        return {k: v for k, v in asdict(self).items() if k != "workers"}

    def learning_rate(self, step: int, total: int) -> float:
        """Learning rate at `step` of `total`; a pure function, so that runs can start anywhere."""
        warm = self.warmup * total
        if self.schedule == "one-cycle":
            peak = max(warm, 0.3 * total)
            if step < peak:
                return self.lr * (0.04 + 0.96 * (1 - math.cos(math.pi * step / peak)) / 2)
            return self.lr * (1 + math.cos(math.pi * (step - peak) / max(1.0, total - peak))) / 2
        rate = self.lr
        if self.schedule == "cosine":
            rate *= (1 + math.cos(math.pi * max(0.0, step - warm) / max(1.0, total - warm))) / 2
        elif self.schedule == "step":
            rate *= self.decay ** sum(step >= share * total for share in self.milestones)
        return rate * min(1.0, (step + 1) / warm) if warm >= 1 else rate


def optimizer_for(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """A fresh optimizer of the trainable parameters of `model`."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, recipe.lr, weight_decay=recipe.weight_decay)


def augment(x: Tensor, kinds: Collection[str], generator: torch.Generator) -> Tensor:
    """Randomly shift (up to 4 pixels, zero padding) and flip images (B, channels, H, W)."""
    if not isinstance(x, Tensor) or x.dim() != 4:
        got = tuple(x.shape) if isinstance(x, Tensor) else "a dict"
        raise InputError(
            f"augment takes images (batch, channels, height, width), got {got}; leave"
            " augment empty for this task"
        )
    n, _, height, width = x.shape
    if "crop" in kinds:
        pad = min(4, height // 8, width // 8)
        dy = torch.randint(0, 2 * pad + 1, (n, 1, 1), generator=generator)
        dx = torch.randint(0, 2 * pad + 1, (n, 1, 1), generator=generator)
        rows = (torch.arange(height).view(1, -1, 1) + dy).to(x.device)
        columns = (torch.arange(width).view(1, 1, -1) + dx).to(x.device)
        padded = F.pad(x, (pad, pad, pad, pad)).permute(0, 2, 3, 1)
        image = torch.arange(n, device=x.device).view(-1, 1, 1)
        x = padded[image, rows, columns].permute(0, 3, 1, 2)
    if "flip" in kinds:
        flip = (torch.rand(n, generator=generator) < 0.5).to(x.device)
        x = torch.where(flip.view(-1, 1, 1, 1), x.flip(3), x)
    return x
