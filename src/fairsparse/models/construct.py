"""How a network is made from its name, and how a network of the user's is fitted to a task."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from fairsparse.core import InputError
from fairsparse.models.language import hugging_face
from fairsparse.models.registry import MODELS

M = TypeVar("M", bound=nn.Module)


def factory(name: str) -> Callable[..., nn.Module]:
    """Return a registered model's constructor, or what ``module:factory`` or ``hf:NAME`` names.

    An unknown name, module or callable is an `InputError`.
    """
    if ":" not in name:
        return MODELS[name]
    if name.startswith("hf:"):
        return hugging_face(name.removeprefix("hf:"))
    module_name, _, attribute = name.partition(":")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module raises while it is imported
        if isinstance(error, ModuleNotFoundError) and error.name == module_name.split(".")[0]:
            raise InputError(
                f"model '{name}': no module '{module_name}' on the Python path or in {here}"
            ) from None
        raise InputError(
            f"model '{name}': importing {module_name} failed with {type(error).__name__}: {error}"
        ) from error
    constructor = getattr(module, attribute, None)
    if not callable(constructor):
        raise InputError(f"model '{name}': {module_name} has no callable '{attribute}'")
    return constructor


def check_trusted(name: str, where: str, trust: bool) -> None:
    """Raise `InputError` where a file, `where`, has a name that imports a module, untrusted."""
    if ":" in name and not name.startswith("hf:") and not trust:
        raise InputError(
            f"{where} asks for the code '{name}', and no file decides what code is run; make the"
            " network and pass it to fairsparse.load(DIR, model=...), or, if you trust the file,"
            " give --trust (in Python trust=True)"
        )


def build(
    name: str, input_shape: tuple[int, ...], n_classes: int, *, seed: int = 0, **options: Any
) -> nn.Module:
    """Make a model with weights drawn from `seed`, leaving the global generator as it was.

    Parameters
    ----------
    name : str
        A registered name, or ``module:factory`` for a callable that takes ``(input_shape,
        n_classes, **options)`` or no arguments at all.
    input_shape : tuple of int
        Shape of one input, without the batch.

    Raises
    ------
    InputError
        When the model cannot be made of these, or is no module.
    """
    make = factory(name)
    arguments: tuple[Any, ...] = (input_shape, n_classes)
    if not options and not _takes(make, arguments) and _takes(make, ()):
        arguments = ()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = make(*arguments, **options)
        except TypeError as error:
            raise InputError(f"model '{name}': {str(error).splitlines()[0]}") from None
    if not isinstance(model, nn.Module):
        raise InputError(f"model '{name}' made a {type(model).__name__}; give a torch nn.Module")
    return model


def _takes(make: Callable[..., nn.Module], arguments: tuple[Any, ...]) -> bool:
    try:
        inspect.signature(make).bind(*arguments)
    except TypeError:
        return False
    except ValueError:
        return True  # written in C, without a signature: calling it is the only way to know
    return True


def check_outputs(model: nn.Module, x: Tensor, n_classes: int) -> None:
    """Raise `InputError` unless `model` maps two inputs ``x`` (2, *f) to logits (2, n_classes)."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            logits = model(x)
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise InputError(
            f"the model does not take inputs of shape {tuple(x.shape)}: {first}"
        ) from None
    finally:
        model.train(training)
    if not isinstance(logits, Tensor) or logits.shape != (len(x), n_classes):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(
            f"the model gives outputs of shape {got} for {len(x)} inputs; the task has {n_classes}"
            f" classes, so ({len(x)}, {n_classes}) is needed: change the last layer's width"
        )


def adapted(model: M, x: Any) -> M:
    """Let `model` map the inputs of a batch to logits, by another class with the same weights.

    A dict is handed over as keyword arguments where forward names all its keys, and as one
    argument otherwise. Names of weights and submodules stay. The model is changed in place, where
    the few inputs `x` show that it needs to be; `restored` undoes it.
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
            return output.logits if inner else output

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
