"""Evaluation mode for the length of a measurement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


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
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
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
