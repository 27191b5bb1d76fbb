"""Which filters, normalizations and inputs share a channel, found by following it through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from fairsparse.core import InputError
from fairsparse.masks.maskset import BATCH_NORMS, LAYERS
from fairsparse.masks.modes import evaluating
from fairsparse.masks.structure.attention import Block, blocks
from fairsparse.masks.structure.graph import KEEP_ZERO, operation, traced

_POOLS = {
    f"{kind}pool{d}d" for kind in ("max", "avg", "adaptivemax", "adaptiveavg") for d in (1, 2, 3)
}
_ADDED = {"add", "iadd", "sub", "isub"}
_SCALED = {"mul", "imul", "truediv", "itruediv", "div"}


@dataclass(frozen=True)
class Channels:
    """The channels of a network, numbered from 0 to K-1, by the names of weights and BatchNorms.

    Attributes
    ----------
    filters : dict of (U,)
        The channel that each filter writes: one for several layers whose outputs are added up.
    norms : dict of (C,)
        The channels that a BatchNorm normalizes.
    inputs : dict of (I,)
        The channel that each input of a layer reads: one for many behind a flattened image.
    free : Tensor of bool, shape (K,)
        Channels that can be taken out: filters alone write them, and they are read by nothing
        else than what is listed here and operations under which zero stays zero.
    """

    filters: dict[str, Tensor]
    norms: dict[str, Tensor]
    inputs: dict[str, Tensor]
    free: Tensor


def channels(model: nn.Module, x: Tensor) -> Channels:
    """Follow the channels of `model` from layer to layer.

    Convolutions, linear layers, BatchNorm, activations, pooling, dropout, flattening, padding with
    zeros, slices, sums, products and concatenations are followed. Heads of attention and neurons
    between the layers of a feed-forward block are channels too. Channels that meet anything else
    (another normalization, a sigmoid, an added number, a convolution in groups that is not
    depthwise) or the output of the network are not free.

    `x` (B, *f) are a few inputs, to learn shapes from. A model that can neither be traced nor has
    such blocks is an `InputError`.
    """
    parts = blocks(model)
    try:
        follower = _Follower(model)
        with evaluating(model), torch.no_grad():
            follower.run(x)
        followed = follower.result()
    except InputError:
        if not parts:
            raise
        followed = Channels({}, {}, {}, torch.zeros(0, dtype=torch.bool))
    return _with_blocks(followed, parts)


def check_channels(model: nn.Module) -> None:
    """Raise `InputError` where `channels` could not follow the model."""
    if not blocks(model):
        traced(model)


def _with_blocks(channels: Channels, parts: Sequence[Block]) -> Channels:
    """Add the units of transformers.

    Heads are none that following finds. Of layers that are feed-forward by their names alone what
    was followed counts: between them may be anything.
    """
    parts = [b for b in parts if b.heads or not b.filters.keys() & channels.filters.keys()]
    free = [channels.free]
    filters, inputs = dict(channels.filters), dict(channels.inputs)
    first = len(channels.free)
    for block in parts:
        filters |= {name: rows + first for name, rows in block.filters.items()}
        inputs |= {name: columns + first for name, columns in block.inputs.items()}
        free.append(torch.ones(block.units, dtype=torch.bool))
        first += block.units
    return Channels(filters, channels.norms, inputs, torch.cat(free))


class _Follower(fx.Interpreter):
    """Runs a graph, and keeps for each value the list of its channels; -1 is a channel of zeros."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(traced(model), garbage_collect_values=False)
        self.weights = {id(p): name for name, p in model.named_parameters()}
        self.parent: list[int] = []
        self.fixed: list[int] = []
        self.channels: dict[fx.Node, list[int]] = {}
        self.filters: dict[str, list[int]] = {}
        self.norms: dict[str, list[int]] = {}
        self.inputs: dict[str, list[int]] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        own = self._follow(n, value)
        if own is None:  # an operation that it cannot follow
            for node in n.all_input_nodes:
                self.fixed += self.channels.get(node, [])
            n_channels = value.shape[1] if isinstance(value, Tensor) and value.dim() > 1 else 0
            own = self._new(n_channels)
            self.fixed += own
        self.channels[n] = own
        return value

    def result(self) -> Channels:
        roots = sorted({self._root(i) for i in range(len(self.parent))})
        number = {root: i for i, root in enumerate(roots)}

        def numbers(table: dict[str, list[int]]) -> dict[str, Tensor]:
            return {
                name: torch.tensor([number[self._root(i)] for i in own], dtype=torch.int64)
                for name, own in table.items()
            }

        free = torch.ones(len(roots), dtype=torch.bool)
        free[[number[self._root(i)] for i in self.fixed if i >= 0]] = False
        return Channels(numbers(self.filters), numbers(self.norms), numbers(self.inputs), free)

    def _follow(self, n: fx.Node, value: Any) -> list[int] | None:
        """The channels of a node's value, or None where they are lost."""
        sources = [self.channels[node] for node in n.all_input_nodes if node in self.channels]
        if not isinstance(value, Tensor) or value.dim() < 2 or not sources:
            return None
        first, width = sources[0], value.shape[1]
        before = self.env[n.all_input_nodes[0]]
        if not isinstance(before, Tensor) or before.dim() < 2 or len(first) != before.shape[1]:
            return None
        if n.op == "call_module":
            module = self.module.get_submodule(str(n.target))
            if isinstance(module, LAYERS):
                return self._layer(module, first, before)
            if isinstance(module, BATCH_NORMS):
                if not module.affine:
                    return None  # nothing that could be set to zero
                return self._joined(self.norms, str(n.target), first)
        name = operation(n, self.module)  # type: ignore[arg-type]
        same = value.shape[:2] == before.shape[:2]
        if name in KEEP_ZERO | _POOLS or (name in ("mean", "sum") and _beyond(n, before.dim())):
            return first if same else None
        if name in _ADDED | _SCALED:
            if len(sources) == 1:
                return first if name in _SCALED and same and n.args[0] in self.channels else None
            zero = "div" not in name and all(len(source) == width for source in sources)
            return self._join(*sources) if zero else None
        if name in ("flatten", "view", "reshape"):
            per = before[0, 0].numel()
            if value.shape == (len(before), len(first) * per):
                return [i for i in first for _ in range(per)]
            return first if same else None
        if name in ("cat", "concat") and (n.kwargs.get("dim", (*n.args, 0)[1])) in (
            1,
            1 - value.dim(),
        ):
            joined = [i for source in sources for i in source]
            return joined if len(joined) == width else None
        if name == "getitem":
            return _sliced(n.args[1], first, width)
        return self._padded(n, first, before.dim(), width) if name == "pad" else None

    def _layer(self, module: nn.Module, read: list[int], before: Tensor) -> list[int] | None:
        weight: Tensor = module.weight  # type: ignore[assignment]
        name = self.weights.get(id(weight))
        if name is None:
            return None
        if name not in self.filters:
            self.filters[name] = self._new(len(weight))
        written = self.filters[name]
        groups = getattr(module, "groups", 1)
        if groups == len(read) == len(written) > 1:  # depthwise: a channel of its own for each
            return self._join(written, read)
        if groups > 1 or (isinstance(module, nn.Linear) and before.dim() > 2):
            self.fixed += written  # taking one out would change which inputs the others read
            return None
        self._joined(self.inputs, name, read)
        return written

    def _padded(self, n: fx.Node, first: list[int], dims: int, width: int) -> list[int] | None:
        pad, more = n.args[1], n.args[2:]
        options = {**dict(zip(("mode", "value"), more, strict=False)), **n.kwargs}
        if options.get("mode", "constant") != "constant" or options.get("value") not in (None, 0):
            return None
        if not isinstance(pad, Sequence) or not all(isinstance(i, int) for i in pad):
            return None
        at = 2 * (dims - 2)  # pairs are listed from the last dimension
        left, right = pad[at : at + 2] if len(pad) >= at + 2 else (0, 0)
        padded = [-1] * left + first + [-1] * right  # type: ignore[operator]
        return padded if len(padded) == width and len(pad) <= at + 2 else None

    def _joined(self, table: dict[str, list[int]], name: str, own: list[int]) -> list[int]:
        # a module that is called twice serves both channels, so they live and die together
        table[name] = self._join(table[name], own) if name in table else own
        if -1 in table[name]:
            fresh = iter(self._new(table[name].count(-1)))
            table[name] = [next(fresh) if i < 0 else i for i in table[name]]
            self.fixed += [i for i, j in zip(table[name], own, strict=True) if j < 0]
        return table[name]

    def _join(self, one: list[int], *others: list[int]) -> list[int]:
        for other in others:
            for i, j in zip(one, other, strict=True):
                if min(i, j) >= 0:
                    self.parent[self._root(j)] = self._root(i)
            one = [max(i, j) if min(i, j) < 0 else i for i, j in zip(one, other, strict=True)]
        return one

    def _new(self, count: int) -> list[int]:
        fresh = list(range(len(self.parent), len(self.parent) + count))
        self.parent += fresh
        return fresh

    def _root(self, i: int) -> int:
        while self.parent[i] != i:
            self.parent[i] = i = self.parent[self.parent[i]]
        return i


def _beyond(n: fx.Node, dims: int) -> bool:
    """Whether a reduction leaves examples and channels alone."""
    over = n.kwargs.get("dim", (*n.args, None)[1])
    listed = [over] if isinstance(over, int) else over
    return isinstance(listed, Sequence) and all(
        isinstance(d, int) and 2 <= d % dims < dims for d in listed
    )


def _sliced(index: Any, first: list[int], width: int) -> list[int] | None:
    parts = index if isinstance(index, tuple) else (index,)
    if not all(isinstance(part, slice) for part in parts) or parts[0] != slice(None):
        return None
    chosen = parts[1] if len(parts) > 1 else slice(None)
    ends = (chosen.start, chosen.stop, chosen.step)
    left = first[chosen] if all(isinstance(end, int | None) for end in ends) else []
    return left if len(left) == width else None
