"""Random weights that a seed gives again, and tickets that store it in place of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from fairsparse.checkpoint import digest, read_tensors, write_tensors
from fairsparse.core import InputError
from fairsparse.masks.maskset import LAYERS, MaskSet
from fairsparse.training import State, derive, state_of
from fairsparse.training.run import joined, parted

Distribution = Literal["signed-constant", "unsigned-constant", "kaiming"]

_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
_KIND = "fair-scratch ticket"


@dataclass(frozen=True)
class Source:
    """What random weights are drawn from.

    Those of layers with masks are ``+-c`` with random signs, ``c``, or uniform of deviation c,
    where ``c = sqrt(2 / fan_in)``. Layers without a mask are always ``kaiming``: with nothing to
    choose among them, weights of one size would make few different units, or equal ones.
    """

    seed: int
    weights: Distribution = "signed-constant"
    scale_fan: bool = True
    """Count only the kept weights in ``fan_in``, so that a signal keeps its size."""

    def draw(self, name: str, shape: torch.Size, kept: float | None) -> Tensor:
        """Return the weight `name`; `kept` is the share its mask keeps, None without a mask."""
        generator = torch.Generator().manual_seed(derive(self.seed, "fair-scratch", name))
        fan = math.prod(shape[1:]) * (kept if kept is not None and self.scale_fan else 1.0)
        size = math.sqrt(2 / fan)
        if kept is None or self.weights == "kaiming":
            return (torch.rand(shape, generator=generator) * 2 - 1) * (math.sqrt(3) * size)
        if self.weights == "unsigned-constant":
            return torch.full(shape, size)
        signs = torch.randint(2, tuple(shape), generator=generator)
        return (2.0 * signs - 1.0) * size


def randomize_(model: nn.Module, source: Source, kept: Mapping[str, int]) -> set[str]:
    """Set `model` to what the seed gives; return all names of the parameters that were set.

    Weights of convolutions and linear layers are drawn, their biases zeroed, and normalization
    layers reset to scale 1 and shift 0. All else, such as embeddings, stays. `kept` is the number
    of weights kept of each weight that has a mask.
    """
    done: set[nn.Parameter] = set()
    names = {id(p): name for name, p in model.named_parameters()}
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, _NORMS):
                module.reset_parameters()
                done.update(module.parameters(recurse=False))
            elif isinstance(module, LAYERS):
                for key, p in module.named_parameters(recurse=False):
                    name = names[id(p)]
                    done.add(p)
                    if key == "weight":
                        share = kept[name] / p.numel() if name in kept else None
                        p.copy_(source.draw(name, p.shape, share))
                    else:
                        p.zero_()
    # a layer of two names stands under both in the model's state
    return {name for name, p in model.named_parameters(remove_duplicate=False) if p in done}


def _counts(masks: MaskSet) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in masks.items()}


@dataclass(frozen=True)
class Ticket:
    """A network as a seed, one bit a prunable weight, and what neither of them gives."""

    source: Source
    bits: State
    """Weight -> its mask in the order of flat indices, eight to a byte, uint8 (ceil(n / 8),)."""
    rest: State
    """What of the state the seed does not give: running statistics, and whatever was trained."""
    digest: str
    """SHA-256 of the whole state, which `unpack` checks."""

    @classmethod
    def of(cls, model: nn.Module, masks: MaskSet, source: Source) -> Ticket:
        """Pack `model`; weights other than the seed's times `masks` are an `InputError`."""
        state = state_of(model)
        drawn = copy.deepcopy(model)
        seeded = randomize_(drawn, source, _counts(masks))
        masks.apply_(drawn)
        fresh = state_of(drawn)
        for name in masks:
            if not torch.equal(fresh[name], state[name]):
                raise InputError(
                    f"weight '{name}' is not what seed {source.seed} and its mask give; pack a"
                    " network as the search left it, with the search's own seed and options"
                )
        rest = {n: t for n, t in state.items() if n not in seeded or not t.equal(fresh[n])}
        bits = {n: torch.from_numpy(np.packbits(mask.cpu().numpy())) for n, mask in masks.items()}
        return cls(source, bits, rest, digest(state, ""))

    @property
    def nbytes(self) -> int:
        """Size of the tensors that are stored."""
        return sum(t.nbytes for part in (self.bits, self.rest) for t in part.values())

    def unpack(self, model: nn.Module) -> MaskSet:
        """Make `model`, of the same architecture, the packed network; return its masks.

        Other weights, or a version of torch that draws other numbers, are an `InputError`.
        """
        parameters = dict(model.named_parameters())
        masks = {}
        for name, packed in self.bits.items():
            n = parameters[name].numel() if name in parameters else 0
            if packed.numel() != math.ceil(n / 8) or not n:
                raise InputError(
                    f"the ticket has {packed.numel()} bytes of mask for '{name}' and the model {n}"
                    " such weights; give the architecture that the ticket was found in"
                )
            flat = np.unpackbits(packed.numpy(), count=n).astype(bool)
            masks[name] = torch.from_numpy(flat).view(parameters[name].shape)
        result = MaskSet(masks)
        randomize_(model, self.source, _counts(result))
        state = model.state_dict()
        for name, t in self.rest.items():
            if name not in state or state[name].shape != t.shape:
                raise InputError(
                    f"the ticket's '{name}' does not fit the model; give the architecture that the"
                    " ticket was found in"
                )
        model.load_state_dict({**state, **self.rest})
        result.apply_(model)
        if digest(state_of(model), "") != self.digest:
            raise InputError(
                f"seed {self.source.seed} does not give the ticket's weights here; use the"
                " architecture that the ticket was found in, or the version of torch that wrote it"
            )
        return result

    def write(self, path: Path | str) -> None:
        """Write one safetensors file, atomically."""
        meta = {"kind": _KIND, "source": vars(self.source), "digest": self.digest}
        write_tensors(Path(path), joined({"bits": self.bits, "rest": self.rest}), meta)

    @classmethod
    def read(cls, path: Path | str) -> Ticket:
        """Read what `write` wrote; a damaged or another file is an `InputError`."""
        tensors, meta = read_tensors(Path(path))
        if not isinstance(meta, dict) or meta.get("kind") != _KIND:
            raise InputError(f"{path}: not a ticket but another checkpoint; give a ticket's file")
        parts = {"bits": {}, "rest": {}, **parted(tensors)}
        return cls(Source(**meta["source"]), parts["bits"], parts["rest"], meta["digest"])
