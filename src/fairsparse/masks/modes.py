"""Another mode, or other values, for the length of a measurement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from fairsparse.core import Inputs
from fairsparse.masks.maskset import BATCH_NORMS


def call_with(model: nn.Module, values: Mapping[str, Tensor], x: Inputs) -> Any:
    """Return ``model(x)`` with parameters replaced for this call; afterwards they are as before.

    A parameter that is used in several places is replaced in all of them. `functional_call` by
    itself replaces a layer of two names once for each name, and puts back the replacement.
    Gradients may be taken of `values`, whose names are those of ``model.named_parameters()``.
    """
    parameters = dict(model.named_parameters())
    replaced = {id(parameters[name]): value for name, value in values.items()}
    places = {
        place: replaced[id(p)]
        for prefix, module in model.named_modules()  # each module once
        for place, p in module.named_parameters(prefix, recurse=False, remove_duplicate=False)
        if id(p) in replaced
    }
    return functional_call(model, places, (x,), tie_weights=False)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put `model` in evaluation mode, and every one of its modules back as it was.

    Restoring only the root's mode would start up a BatchNorm that its owner had frozen.
    """
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def probing(model: nn.Module) -> Iterator[None]:
    """As `evaluating`, but a BatchNorm that has seen no data normalises by the batch it is given.

    The running statistics of an untrained network are those of no data; gradients taken with them
    are those of another network. No statistic is updated.
    """
    fresh = [
        module
        for module in model.modules()
        if isinstance(module, BATCH_NORMS)
        and module.num_batches_tracked is not None
        and not bool(module.num_batches_tracked)
    ]
    statistics = [(module.running_mean, module.running_var) for module in fresh]
    with evaluating(model):
        for module in fresh:
            module.running_mean = module.running_var = None
        try:
            yield
        finally:
            for module, (mean, var) in zip(fresh, statistics, strict=True):
                module.running_mean, module.running_var = mean, var
