"""Whether anything still gets from the inputs of a masked network to its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fairsparse.core import InputError, Inputs
from fairsparse.masks.maskset import LAYERS, NORMS
from fairsparse.masks.modes import call_with, evaluating


def check_paths(model: nn.Module, masks: Mapping[str, Tensor], x: Inputs) -> None:
    """Raise `InputError` when masks empty a layer, or leave no path of weights to any output.

    Such a network says the same whatever its input, and training moves little but biases.

    The model is left as it was; of the inputs `x`, if they are numbers, only the shape counts.
    """
    advice = "lower the sparsity, set floor above 0, or use scope layerwise or erk"
    for name, mask in masks.items():
        if not bool(mask.any()):
            raise InputError(
                f"the masks keep 0 of {mask.numel()} weights of layer {name}, which cuts it off"
                f" before any training; {advice}"
            )
    # where the whole network lets nothing through either, the measure says nothing of the masks
    if not _reached(model, masks, x) and _reached(model, {}, x):
        kept, total = (sum(int(f(m)) for m in masks.values()) for f in (torch.sum, torch.numel))
        raise InputError(
            f"the masks keep {kept} of {total} weights, and no path of them leads from an input to"
            f" an output, so that nothing can be learned; {advice}"
        )


def _ones(x: Tensor) -> Tensor:
    return torch.ones_like(x) if x.is_floating_point() else x


def _reached(model: nn.Module, masks: Mapping[str, Tensor], x: Inputs) -> bool:
    """Whether ones at all inputs reach an output through kept weights.

    Every kept weight counts as 1, every bias as 0 and every normalization as nothing. Before and
    after each layer what is not zero is set to 1, so that no depth makes it vanish or overflow,
    and what a module of another kind passes on counts whatever its sign.
    """
    values: dict[str, Tensor] = {}
    for name, p in model.named_parameters():
        value = p.new_zeros(()) if name.endswith("bias") else p.new_ones(())
        values[name] = masks[name].to(p) if name in masks else value.expand_as(p)
    hooks = []
    for module in model.modules():
        if isinstance(module, LAYERS):
            hooks.append(module.register_forward_pre_hook(_signal))
            hooks.append(module.register_forward_hook(lambda _, x, y: (y > 0).to(y.dtype)))
        elif isinstance(module, NORMS):
            hooks.append(module.register_forward_hook(lambda _, x, y: x[0]))
    try:
        with evaluating(model), torch.no_grad():
            ones = {k: _ones(v) for k, v in x.items()} if isinstance(x, Mapping) else _ones(x)
            return bool((call_with(model, values, ones) > 0).any())
    finally:
        for hook in hooks:
            hook.remove()


def _signal(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple((x != 0).to(x.dtype) if isinstance(x, Tensor) else x for x in inputs)
