"""Models in the forms in which they are shipped, run on the examples of an audit.

===========================  =====================================================================
``model.onnx``               an ONNX file, run by ONNX Runtime on the CPU
``model.pt2``                a program of ``torch.export``, read by `exported`'s short grammar
``module:factory``           a function without arguments that returns a network, or any function
                             from a batch to scores; imported as Python imports it, also from the
                             working directory, so it runs whatever that module does; it is not
                             called ``dense`` or ``sparse``, which name the networks of a run
``module:factory@weights``   the same with weights, from ``.safetensors``, or from ``.pt`` or
                             ``.pth`` read without unpickling anything but tensors
===========================  =====================================================================
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fairsparse.auditing.inputs.exported import check_exported
from fairsparse.core import InputError, Inputs
from fairsparse.fairness.measure.counts import Array
from fairsparse.models import adapted
from fairsparse.registry import listing

BATCH = 256
_FACTORY = re.compile(r"(?P<module>[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*)(@(?P<weights>.+))?")
MODEL_FILES = (".onnx", ".pt2")
"""What the names of files of models end in."""
_PICKLED = (".pt", ".pth")


def is_model(path: str) -> bool:
    """Whether `path` names a model rather than predictions.

    >>> [is_model(p) for p in ("a.onnx", "pkg.nets:small@w.safetensors", "a.csv", "run:dense")]
    [True, True, False, False]
    """
    factory = _FACTORY.fullmatch(path)
    if factory is None:
        return Path(path).suffix in MODEL_FILES
    return factory["weights"] is not None or factory["name"] not in ("dense", "sparse")


class Network:
    """A model that can be called on batches.

    Its `path` is one of the table above; from an example of its inputs networks that take a dict
    are known. ``batch`` is the only size of a batch that the model takes, where it was exported so.
    `InputError` when the model is missing, damaged, needs a package, or takes other inputs.
    """

    def __init__(self, path: str, example: Inputs) -> None:
        self.path = path
        factory = _FACTORY.fullmatch(path)
        if factory:
            call, self.batch = _factory(path, **factory.groupdict(), example=example), None
        elif not Path(path).is_file():
            raise InputError(f"{path}: no such file")
        elif path.endswith(".onnx"):
            call, self.batch = _onnx(path, example)
        else:
            call, self.batch = _exported(path, example)
        self._call: Callable[[Inputs], Any] = call

    def __call__(self, x: Inputs) -> Array:
        """Scores by class, float32 (B, C), of one batch; the batch is filled up where need be."""
        n = _length(x)
        filled = x if self.batch in (None, n) else _filled(x, self.batch or n)
        try:
            with torch.inference_mode():
                output = self._call(filled)
        except InputError:
            raise
        except Exception as error:  # whatever a foreign model raises
            shapes = listing([f"{k} {tuple(v.shape)}" for k, v in _named(x).items()])
            raise InputError(
                f"{self.path}: fails on inputs of shape {shapes}: {type(error).__name__}:"
                f" {_reason(error)}"
            ) from None
        return self._scores(output, _length(filled))[:n]

    def _scores(self, output: Any, n: int) -> Array:
        output = getattr(output, "logits", output)
        if isinstance(output, Mapping):
            output = output.get("logits", list(output.values()))
        several = output if isinstance(output, (list, tuple)) else [output]
        arrays = [v.detach().cpu().float().numpy() if isinstance(v, Tensor) else v for v in several]
        for array in (np.asarray(a) for a in arrays if hasattr(a, "shape")):
            rows, columns = array.shape if array.ndim == 2 else (0, 0)
            if rows == n and columns >= 2 and array.dtype.kind == "f":
                return array.astype(np.float32)
        shapes = listing([str(getattr(a, "shape", type(a).__name__)) for a in arrays])
        raise InputError(
            f"{self.path}: gave {shapes} for {n} examples; one score for each class is needed,"
            f" numbers of shape ({n}, classes)"
        )


def scores(path: str, n: int, batch: Callable[[Array], Inputs]) -> Array:
    """Scores by class (N, C), float32, of the model at `path`.

    There are `n` examples; `batch` gives the inputs in rows (B,).
    """
    network = Network(path, batch(np.arange(min(2, n))))
    size = network.batch or BATCH
    starts = range(0, n, size)
    return np.concatenate([network(batch(np.arange(i, min(i + size, n)))) for i in starts])


def _reason(error: Exception) -> str:
    """What an error says, on one line of at most 200 characters."""
    return " ".join(str(error).split())[:200]


def _named(x: Inputs) -> dict[str, Tensor]:
    return {"x": x} if isinstance(x, Tensor) else dict(x)


def _length(x: Inputs) -> int:
    return len(next(iter(_named(x).values())))


def _filled(x: Inputs, size: int) -> Inputs:
    """A batch of `size`, its last example repeated."""
    if _length(x) > size:
        raise InputError(f"a model for batches of {size} was given {_length(x)}")
    at = torch.arange(size).clamp_max(_length(x) - 1)
    return x[at] if isinstance(x, Tensor) else {k: v[at] for k, v in x.items()}


def _matched(path: str, wanted: list[str], x: Inputs) -> list[Tensor]:
    """The inputs by a model's names for them; it may call a key of a dict ``argument_key``."""
    if isinstance(x, Tensor) and len(wanted) == 1:
        return [x]
    named = _named(x)
    tensors = []
    for name in wanted:
        keys = [k for k in named if k == name] or [k for k in named if name.endswith(f"_{k}")]
        if len(keys) != 1:
            raise InputError(
                f"{path}: takes the inputs {listing(wanted)}; given are {listing(list(named))};"
                " name the arrays of --inputs as the model does"
            )
        tensors.append(named[keys[0]])
    return tensors


_TYPES = {
    f"tensor({name})": np.dtype("float32" if name == "float" else name)
    for name in ("float", "double", "float16", "int64", "int32", "uint8", "bool")
}


def _onnx(path: str, example: Inputs) -> tuple[Callable[[Inputs], Any], int | None]:
    try:
        import onnxruntime
    except ImportError:
        raise InputError(
            f"{path}: ONNX files need ONNX Runtime; pip install 'fairsparse[onnx]'"
        ) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong is raised as well
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own classes of exceptions share no other base
        raise InputError(f"{path}: cannot be read ({_reason(error)}); export it again") from None
    inputs = session.get_inputs()
    names = [i.name for i in inputs]
    _matched(path, names, example)
    fixed = [i.shape[0] for i in inputs if i.shape and isinstance(i.shape[0], int)]

    def call(x: Inputs) -> Any:
        tensors = _matched(path, names, x)
        feed = {
            i.name: t.numpy().astype(_TYPES.get(i.type, t.numpy().dtype), copy=False)
            for i, t in zip(inputs, tensors, strict=True)
        }
        return session.run(None, feed)

    return call, max(fixed, default=None)


def _exported(path: str, example: Inputs) -> tuple[Callable[[Inputs], Any], int | None]:
    from torch.utils import _pytree

    check_exported(path)
    try:
        with _only_tensors():
            program = torch.export.load(path)
    except Exception as error:  # of many kinds, for files that are damaged or hold other things
        raise InputError(
            f"{path}: not a program of tensors alone ({_reason(error)}); save it with"
            " torch.export.save"
        ) from None
    names = [str(name) for name in program.graph_signature.user_inputs]
    _matched(path, names, example)
    sizes = [
        node.meta["val"].shape[0]
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in names and node.meta["val"].dim()
    ]
    fixed = [size for size in sizes if isinstance(size, int)]
    module = program.module()

    def call(x: Inputs) -> Any:
        flat = _matched(path, names, x)
        args, kwargs = _pytree.tree_unflatten(flat, program.call_spec.in_spec)
        return module(*args, **kwargs)

    return call, max(fixed, default=None)


@contextlib.contextmanager
def _only_tensors() -> Iterator[None]:
    """Let ``torch.load`` unpickle nothing but tensors, whatever its caller asks for.

    What is wrong is raised, so torch does not log it as well.
    """
    name, log = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", logging.getLogger("torch.export")
    before, level = os.environ.get(name), log.level
    os.environ[name] = "1"
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _factory(
    path: str, module: str, name: str, weights: str | None, example: Inputs
) -> Callable[[Inputs], Any]:
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{path}: cannot be imported ({error}); write module:function") from None
    finally:
        sys.path.remove(here)
    try:
        model = factory()
    except TypeError as error:
        raise InputError(f"{path}: must be a function without arguments ({error})") from None
    if weights is not None:
        if not isinstance(model, nn.Module):
            raise InputError(f"{path}: weights are for a torch network; got {type(model).__name__}")
        _load(model, weights)
    if isinstance(model, nn.Module):
        model = adapted(model.eval(), example)
    elif not callable(model):
        raise InputError(
            f"{path}: returns {type(model).__name__}; a network, or a function from a batch to"
            " scores, is needed"
        )
    return model


def _load(model: nn.Module, weights: str) -> None:
    from safetensors.torch import load_file

    kind = Path(weights).suffix
    if kind not in (".safetensors", *_PICKLED):
        raise InputError(f"{weights}: weights are read from .safetensors, .pt or .pth; convert it")
    if not Path(weights).is_file():
        raise InputError(f"{weights}: no such file")
    try:
        if kind in _PICKLED:
            state = torch.load(weights, map_location="cpu", weights_only=True)
        else:
            state = load_file(weights)
        model.load_state_dict(state)
    except Exception as error:  # damaged in any way, pickled objects, or of another network
        raise InputError(
            f"{weights}: no weights of {type(model).__name__} ({_reason(error)}); save its"
            " state_dict"
        ) from None
