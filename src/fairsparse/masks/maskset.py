"""MaskSet: which weights live, as an immutable value."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fairsparse.core import InputError

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
LAYERS = (*_CONVOLUTIONS, nn.Linear)
"""What has weights that pruning may touch, attention besides."""
BATCH_NORMS = nn.modules.batchnorm._BatchNorm
NORMS = (BATCH_NORMS, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm, nn.LayerNorm)


def prunable(model: nn.Module, *, first: bool = False, last: bool = False) -> dict[str, Tensor]:
    """Return the weights that pruning may touch: name -> parameter, in the model's order.

    Weights of convolutions, linear layers and attention, each shared tensor once. Biases,
    normalization and embeddings never, nor a tensor shared with an embedding or with a layer that
    is kept dense.

    Parameters
    ----------
    model : nn.Module
    first : bool
        Include the first layer when it is a convolution (it is small, and everything passes it).
    last : bool
        Include the last layer: its rows are the classes.

    Raises
    ------
    InputError
        When nothing is left to prune, or a weight is not a parameter but computed.
    """
    modules = list(model.modules())
    layers = [m for m in modules if isinstance(m, LAYERS)]
    chosen = layers if last else layers[:-1]
    if not first and chosen and isinstance(chosen[0], _CONVOLUTIONS):
        chosen = chosen[1:]
    for name, module in model.named_modules():
        if module in chosen and "weight" not in module._parameters:
            raise InputError(
                f"the weight of layer {name} is computed from other tensors (weight norm, a pruning"
                " hook or another reparametrization); remove that, so that masks can zero it"
            )
    dense = {id(p) for m in modules if m not in chosen for p in m.parameters(recurse=False)}
    wanted = {id(m.weight) for m in chosen} - dense
    inside = [m for m in modules if isinstance(m, nn.MultiheadAttention)]
    parts = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
    wanted |= {id(p) for m in inside for n in parts if (p := getattr(m, n)) is not None}
    weights: dict[str, Tensor] = {n: p for n, p in model.named_parameters() if id(p) in wanted}
    if not weights:
        raise InputError(
            f"the model has nothing to prune: of its {len(layers)} convolution and linear layers"
            " the first convolution and the last layer are kept dense; give a deeper model or allow"
            " them with prune_first / prune_last"
        )
    return weights


class MaskSet(Mapping[str, Tensor]):
    """Parameter name -> bool tensor of the parameter's shape, True where the weight is kept.

    The tensors are copies made at construction; treat them as read-only.
    """

    def __init__(self, masks: Mapping[str, Tensor]) -> None:
        if not masks:
            raise ValueError("a MaskSet needs at least one mask")
        for name, mask in masks.items():
            if mask.dtype != torch.bool:
                raise TypeError(f"mask '{name}' has dtype {mask.dtype}; masks are bool")
        self._masks = {name: mask.detach().clone().contiguous() for name, mask in masks.items()}

    @classmethod
    def dense(cls, weights: Mapping[str, Tensor]) -> MaskSet:
        """Keep every weight of `weights`."""
        return cls({name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()})

    def __getitem__(self, name: str) -> Tensor:
        return self._masks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

    def __repr__(self) -> str:
        return f"MaskSet({len(self)} tensors, {self.n_kept}/{self.n_total} kept)"

    @property
    def n_kept(self) -> int:
        return sum(int(mask.sum()) for mask in self._masks.values())

    @property
    def n_total(self) -> int:
        return sum(mask.numel() for mask in self._masks.values())

    @property
    def sparsity(self) -> float:
        """Zero prunable weights / prunable weights, in [0, 1]."""
        return 1 - self.n_kept / self.n_total

    def __le__(self, other: MaskSet) -> bool:
        """Whether every weight kept here is kept in `other`, over the same names."""
        return self.keys() == other.keys() and all(
            not bool((mask & ~other[name]).any()) for name, mask in self.items()
        )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, MaskSet)
            and self.keys() == other.keys()
            and all(torch.equal(mask, other[name]) for name, mask in self.items())
        )

    def __hash__(self) -> int:
        return hash(self.digest())

    def digest(self) -> str:
        """SHA-256 of names, shapes and bits, independent of the order of the names."""
        sha = hashlib.sha256()
        for name in sorted(self):
            mask = self[name].cpu()
            sha.update(f"{name} {tuple(mask.shape)}".encode())
            sha.update(mask.numpy().tobytes())
        return sha.hexdigest()

    def apply_(self, model: nn.Module) -> None:
        """Zero the pruned weights of `model`."""
        self.bind(model).weights_()

    def apply_to_grad_(self, model: nn.Module) -> None:
        """Zero the gradients of the pruned weights of `model`."""
        self.bind(model).grads_()

    def is_applied(self, model: nn.Module) -> bool:
        """Whether every pruned weight of `model` is exactly zero."""
        parameters = dict(model.named_parameters())
        return all(
            not bool(parameters[name].detach()[~mask.to(parameters[name].device)].any())
            for name, mask in self.items()
        )

    def bind(self, model: nn.Module) -> BoundMasks:
        """Return the masks tied to the parameters of `model`, ready for use at every step."""
        return BoundMasks(self, model)


class BoundMasks:
    """Masks in the dtype, device and layout of one model's parameters."""

    def __init__(self, masks: MaskSet, model: nn.Module) -> None:
        parameters = dict(model.named_parameters())
        missing = [name for name in masks if name not in parameters]
        if missing:
            raise ValueError(f"the model has no parameter {missing[0]}; masks are of another model")
        self._weights: list[Tensor] = [parameters[name] for name in masks]
        # empty_like keeps the weight's memory layout, which makes the products below contiguous
        self._factors = [
            torch.empty_like(w, requires_grad=False).copy_(mask)
            for w, mask in zip(self._weights, masks.values(), strict=True)
        ]

    def weights_(self) -> None:
        """Zero the pruned weights."""
        with torch.no_grad():
            torch._foreach_mul_(self._weights, self._factors)

    def grads_(self) -> None:
        """Zero the gradients of the pruned weights; weights without a gradient are passed over."""
        pairs = [
            (w.grad, f)
            for w, f in zip(self._weights, self._factors, strict=True)
            if w.grad is not None
        ]
        if pairs:
            torch._foreach_mul_([g for g, _ in pairs], [f for _, f in pairs])

    def state_(self, optimizer: torch.optim.Optimizer) -> None:
        """Zero momentum and moments of the pruned weights, so that none can move or revive."""
        for weight, factor in zip(self._weights, self._factors, strict=True):
            state: dict[str, Any] = optimizer.state.get(weight, {})
            for value in state.values():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    value.mul_(factor)
