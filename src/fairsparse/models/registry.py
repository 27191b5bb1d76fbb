"""The registry of networks."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from fairsparse.core import InputError
from fairsparse.registry import Registry

MODELS: Registry[Callable[..., nn.Module]] = Registry("model")


def image_channels(input_shape: tuple[int, ...], model: str) -> int:
    """Channels of the task's images; inputs that are no images are an `InputError`."""
    if len(input_shape) != 3:
        raise InputError(
            f"{model} takes images (channels, height, width), the task's inputs have shape"
            f" {input_shape}; use mlp, or a model of your own as module:factory"
        )
    return input_shape[0]
