"""Which precision a machine trains faster in: many processors are far slower at bfloat16."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Literal, cast

import torch
from torch.nn import functional as F

from fairsparse.training.recipe import Recipe

_GAIN = 1.1
"""How many times as fast bf16 has to be to be chosen."""


def settled(recipe: Recipe, device: torch.device, before: str | None = None) -> Recipe:
    """The recipe with a precision that is no longer ``auto``; what a probe says of bf16 is told.

    What was chosen `before`, for a run that goes on, is chosen again. What is asked for is kept,
    also where the other is faster.
    """
    if recipe.precision == "fp32":
        return recipe
    if recipe.precision == "auto" and before in ("fp32", "bf16"):
        return replace(recipe, precision=cast(Literal["bf16", "fp32"], before))
    ratio = speed_of_bf16(device)
    says = f"bf16 is {ratio:.2g} times as fast as fp32 on this machine ({device.type})"
    if recipe.precision == "bf16":
        advice = "; use fp32, or auto, which takes the faster one" if ratio < 1 else ""
        _tell(f"precision: {says}{advice}")
        return recipe
    faster: Literal["bf16", "fp32"] = "bf16" if ratio >= _GAIN else "fp32"
    _tell(f"precision: {says}; auto takes {faster}")
    return replace(recipe, precision=faster)


@cache
def speed_of_bf16(device: torch.device) -> float:
    """How many times as fast autocast to bf16 is as fp32, by a product and a convolution."""
    generator = torch.Generator().manual_seed(0)
    a, b, x, w = (
        torch.randn(shape, generator=generator).to(device)
        for shape in ((256, 512), (512, 256), (16, 32, 16, 16), (32, 32, 3, 3))
    )

    def work(enabled: bool) -> Callable[[], None]:
        def once() -> None:
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled):
                torch.relu(a @ b), F.conv2d(x, w, padding=1)
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        return once

    plain, short = (_fastest(work(enabled)) for enabled in (False, True))
    return plain / short


def _fastest(work: Callable[[], None], repeats: int = 7) -> float:
    times = []
    for _ in range(repeats):  # the first ones load what is needed
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def _tell(line: str) -> None:
    print(f"fairsparse: {line}", file=sys.stderr)
