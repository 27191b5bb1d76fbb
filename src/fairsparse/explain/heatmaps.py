"""Heat maps: how much each part of an input speaks for a class, by the kind of the input.

Images get Grad-CAM [1]_, everything else integrated gradients [2]_; both through captum.

References
----------
.. [1] Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
   Localization", ICCV 2017, arXiv:1610.02391.
.. [2] Sundararajan et al., "Axiomatic Attribution for Deep Networks", ICML 2017, arXiv:1703.01365.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fairsparse.core import InputError, Inputs
from fairsparse.data.files.tokens import PAD
from fairsparse.data.task import Split
from fairsparse.explain.layers import embedding, picture_layer
from fairsparse.fairness.measure.counts import Array

STEPS = 50
_AT_ONCE = 64
"""Inputs that integrated gradients runs at once, with their steps to the baseline."""


@dataclass(frozen=True)
class Explainer:
    """How the maps of one network are made.

    ``summary`` says it in words; ``maps`` takes inputs as the network takes them and the classes
    (B,) to maps (B, *f).
    """

    summary: str
    maps: Callable[[Inputs, Tensor], Tensor]


def heatmaps(
    models: Mapping[str, nn.Module],
    x: Split | Inputs,
    targets: Any = None,
    *,
    special: Collection[int] = (),
    steps: int = STEPS,
    batch_size: int = 32,
) -> dict[str, Array]:
    """Map what each network looks at when it speaks for a class.

    All networks are asked about the same class. A map of what a network itself predicts would
    change with the prediction, and two maps could then differ because the question does.

    Parameters
    ----------
    models : mapping of str to nn.Module
        Name -> network from inputs to logits (B, C); run in evaluation mode on its own device.
    x : Split, Tensor or dict of Tensor
        Float images (N, channels, H, W), float features (N, *f), or token ids (N, L), int64 with
        -1 where a text is shorter; or a dict with token ids and, as ``attention_mask``, what of
        them is text.
    targets : array-like of int, shape (N,), optional
        The class of each example; by default what the first network predicts.
    special : collection of int
        Ids of tokens around every text, such as [CLS]; a split of texts knows its own.
    steps : int
        Points between baseline and input, of integrated gradients.
    batch_size : int

    Returns
    -------
    dict of str to ndarray of float32
        Of images (N, H, W): Grad-CAM at the last layer that is wider than one pixel, not negative;
        without a convolution integrated gradients, summed over channels. Of features (N, *f):
        integrated gradients from zero, the mean of standardized data. Of texts (N, L): integrated
        gradients from padding, summed over the embedding; NaN for padding and special tokens.

    Raises
    ------
    InputError
        Without captum or networks, and for targets or inputs of no such kind.
    """
    _check_networks(models)
    n = len(x) if isinstance(x, (Split, Tensor)) else len(next(iter(x.values())))
    classes = None if targets is None else _targets(targets, n)
    around = getattr(x.transform, "special", special) if isinstance(x, Split) else special
    explainers: dict[str, Explainer] = {}
    batches: dict[str, list[Array]] = {name: [] for name in models}
    with _evaluating(models):
        for index in torch.arange(n).split(batch_size):
            batch = _batch(x, index)
            wanted = _predicted(models, batch) if classes is None else classes[index]
            for name, model in models.items():
                if name not in explainers:
                    explainers[name] = explainer(model, batch, around, steps)
                maps = explainers[name].maps(_moved(batch, model), wanted.to(_device(model)))
                batches[name].append(maps.detach().float().cpu().numpy())
    return {name: _joined(parts) for name, parts in batches.items()}


def _check_networks(models: Mapping[str, nn.Module]) -> None:
    if not models:
        raise InputError("there is no network; give at least one, as {name: network}")
    for name, model in models.items():
        if not isinstance(model, nn.Module):
            raise InputError(f"{name} is a {type(model).__name__}; give a torch nn.Module")


def explainer(
    model: nn.Module, x: Inputs, special: Collection[int] = (), steps: int = STEPS
) -> Explainer:
    """How the maps of `model` are made for inputs like `x`, a few of them as it takes them.

    `InputError` without captum, and for inputs of a kind that has no maps.
    """
    try:
        attr = importlib.import_module("captum.attr")
    except ImportError:
        raise InputError('heat maps need captum: pip install "fairsparse[explain]"') from None
    x = _moved(x, model)
    if isinstance(x, Mapping) or not x.is_floating_point():
        return _of_tokens(attr, model, x, special, steps)
    if x.dim() == 4:
        name, layer = picture_layer(model, x)
        if layer is not None:
            return _grad_cam(attr, model, name, layer)
    return _of_inputs(attr, model, x, steps)


def _grad_cam(attr: Any, model: nn.Module, name: str, layer: nn.Module) -> Explainer:
    method = attr.LayerGradCam(model, layer)

    def maps(x: Inputs, target: Tensor) -> Tensor:
        assert isinstance(x, Tensor)
        coarse = method.attribute(x, target, relu_attributions=True)
        wide: Tensor = attr.LayerAttribution.interpolate(coarse, tuple(x.shape[2:]), "bilinear")
        return wide[:, 0]

    return Explainer(f"Grad-CAM at layer {name}, brought up to the size of the image", maps)


def _of_inputs(attr: Any, model: nn.Module, x: Tensor, steps: int) -> Explainer:
    method = attr.IntegratedGradients(model)
    image = x.dim() == 4

    def maps(x: Inputs, target: Tensor) -> Tensor:
        assert isinstance(x, Tensor)
        parts: Tensor = method.attribute(
            x, 0, target, n_steps=steps, internal_batch_size=max(_AT_ONCE, len(x))
        )
        return parts.sum(1) if image else parts

    of = "pixels, summed over channels" if image else "inputs"
    baseline = "zero, the training mean of standardized inputs"
    return Explainer(f"Integrated gradients of the {of}; baseline {baseline}", maps)


def _of_tokens(
    attr: Any, model: nn.Module, x: Inputs, special: Collection[int], steps: int
) -> Explainer:
    key, layer = embedding(model, x)
    names = [name for name in x if name != key] if isinstance(x, Mapping) else []
    pad = getattr(model, "pad", None)
    pad = pad if isinstance(pad, int) else layer.padding_idx or 0

    def forward(ids: Tensor, *others: Tensor) -> Tensor:
        return model(ids if key is None else dict(zip([key, *names], (ids, *others), strict=True)))

    method = attr.LayerIntegratedGradients(forward, layer)

    def maps(x: Inputs, target: Tensor) -> Tensor:
        named = x if isinstance(x, Mapping) else {str(key): x}
        ids = named[str(key)]
        text = (ids != PAD) & (named.get("attention_mask", torch.ones_like(ids)) != 0)
        words = text & ~torch.isin(ids, torch.tensor(sorted(special), device=ids.device))
        parts: Tensor = method.attribute(
            ids,
            baselines=torch.where(words, pad, ids),
            target=target,
            additional_forward_args=tuple(named[name] for name in names) or None,
            n_steps=steps,
            internal_batch_size=max(_AT_ONCE, len(ids)),
        )
        return parts.sum(-1).masked_fill(~words, torch.nan)

    return Explainer(
        "Integrated gradients of the token embeddings, summed over their entries; baseline padding"
        " in place of every token but the special ones",
        maps,
    )


@contextmanager
def _evaluating(models: Mapping[str, nn.Module]) -> Iterator[None]:
    modes = {name: model.training for name, model in models.items()}
    try:
        for model in models.values():
            model.eval()
        with warnings.catch_warnings(), torch.enable_grad():
            # it tells that it sets requires_grad on inputs, which is what it is called for
            warnings.filterwarnings("ignore", category=UserWarning, module="captum")
            yield
    finally:
        for name, model in models.items():
            model.train(modes[name])


def _targets(targets: Any, n: int) -> Tensor:
    classes = torch.as_tensor(targets)
    if classes.shape != (n,) or classes.is_floating_point():
        raise InputError(
            f"targets are {classes.dtype} of shape {tuple(classes.shape)}; give one class, as an"
            f" integer, for each of {n:,} examples"
        )
    return classes.to(torch.int64)


def _batch(x: Split | Inputs, index: Tensor) -> Inputs:
    if isinstance(x, Split):
        inputs: Inputs = x.batch(index).x
        return inputs
    if isinstance(x, Mapping):
        return {name: tensor[index] for name, tensor in x.items()}
    return x[index].float() if x.dim() > 2 else x[index]


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def _moved(x: Inputs, model: nn.Module) -> Inputs:
    device = _device(model)
    return {k: t.to(device) for k, t in x.items()} if isinstance(x, Mapping) else x.to(device)


def _predicted(models: Mapping[str, nn.Module], x: Inputs) -> Tensor:
    """Classes (B,) that the first network predicts."""
    model = next(iter(models.values()))
    with torch.no_grad():
        classes: Tensor = model(_moved(x, model)).argmax(1)
    return classes


def _joined(parts: list[Array]) -> Array:
    """One array; texts of later batches may be longer."""
    if parts[0].ndim == 2:
        longest = max(part.shape[1] for part in parts)
        parts = [
            np.pad(p, ((0, 0), (0, longest - p.shape[1])), constant_values=np.nan) for p in parts
        ]
    return np.concatenate(parts)
