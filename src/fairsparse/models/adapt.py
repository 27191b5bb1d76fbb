"""Networks of the user's whose forward takes a dict, or returns an object with ``.logits``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def adapted(model: M, x: Any) -> M:
    """Let `model` map the inputs of a batch to logits, by another class with the same weights.

    A dict is handed over as keyword arguments where forward names all its keys, and as one
    argument otherwise. Names of weights and submodules stay. `restored` undoes it.

    Parameters
    ----------
    model : nn.Module
        Changed in place, where it needs to be.
    x : Tensor or dict of Tensor
        A few inputs.
    """
    by_name = isinstance(x, Mapping) and _names(model, x)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            output = model(**x) if by_name else model(x)
    except Exception:
        return model  # what does not fit is told by the check of its outputs
    finally:
        model.train(training)
    inner = not isinstance(output, Tensor) and isinstance(getattr(output, "logits", None), Tensor)
    if not by_name and not inner:
        return model
    own = type(model)

    class Adapted(own):  # type: ignore[misc, valid-type]
        _own = own

        def forward(self, x: Any) -> Tensor:
            output: Any = super().forward(**x) if by_name else super().forward(x)
            logits: Tensor = output.logits if inner else output
            return logits

    Adapted.__name__, Adapted.__qualname__ = own.__name__, own.__qualname__
    model.__class__ = Adapted
    return model


def restored(model: M) -> M:
    """Give a network that was `adapted` its own class again, in place."""
    own = getattr(type(model), "_own", None)
    if own is not None:
        model.__class__ = own
    return model


def _names(model: nn.Module, x: Mapping[str, Any]) -> bool:
    try:
        parameters = inspect.signature(model.forward).parameters
    except (TypeError, ValueError):
        return False
    catches_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return catches_all or all(key in parameters for key in x)
