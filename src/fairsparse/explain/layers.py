"""Which layer of a network heat maps are made at, found by running it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fairsparse.core import InputError, Inputs


def picture_layer(model: nn.Module, x: Tensor) -> tuple[str, nn.Module | None]:
    """The layer whose output is the last picture of the input that is wider than one pixel.

    Of all modules with a convolution inside, the last one to finish with such an output: the last
    convolution of a plain network, and the last residual block where there are blocks, because a
    convolution inside of it is only one of the two branches that make up the picture. Its name is
    empty when there is no such layer. The input is of shape (B, channels, H, W).
    """
    last: list[tuple[str, nn.Module]] = []

    def see(name: str, module: nn.Module, _: Any, output: Any) -> None:
        wide = isinstance(output, Tensor) and output.dim() == 4 and max(output.shape[2:]) > 1
        if wide and name and any(isinstance(m, nn.Conv2d) for m in module.modules()):
            last[:] = [(name, module)]

    _run(model, x, see)
    return last[0] if last else ("", None)


def embedding(model: nn.Module, x: Inputs) -> tuple[str | None, nn.Embedding]:
    """The embedding that takes token ids, and the key of the ids where inputs are a dict.

    `InputError` when no embedding is given the inputs, or one of them.
    """
    named: list[tuple[str | None, Tensor]] = (
        [(None, x)] if isinstance(x, Tensor) else [(key, x[key]) for key in x]
    )
    first: list[tuple[str | None, nn.Embedding]] = []

    def see(_: str, module: nn.Module, inputs: Any, __: Any) -> None:
        if first or not isinstance(module, nn.Embedding) or not inputs:
            return
        for key, ids in named:
            if not ids.is_floating_point() and ids.shape == inputs[0].shape:
                words = ids >= 0
                if bool((ids[words] == inputs[0][words]).all()):
                    first.append((key, module))
                    return

    _run(model, x, see)
    if not first:
        kinds = ", ".join(f"{t.dtype} {tuple(t.shape)}" for _, t in named)
        raise InputError(
            f"the network has no embedding of its inputs ({kinds}); heat maps are made of float"
            " images, float features, and token ids that go into an nn.Embedding"
        )
    return first[0]


def _run(model: nn.Module, x: Inputs, see: Callable[[str, nn.Module, Any, Any], None]) -> None:
    """Run the network once in evaluation mode and show each module with its input and output."""
    hooks = [m.register_forward_hook(partial(see, name)) for name, m in model.named_modules()]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            model(x)
    finally:
        model.train(training)
        for handle in hooks:
            handle.remove()
