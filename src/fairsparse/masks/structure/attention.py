"""The units of transformers: attention heads, and the neurons between the feed-forward layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_PROJECTIONS = (
    ("query", "key", "value"),
    ("q_proj", "k_proj", "v_proj"),
    ("q_lin", "k_lin", "v_lin"),
)
_HEADS = ("num_attention_heads", "num_heads", "n_heads", "num_key_value_heads")
_AFTER = ("out_proj", "out_lin", "o_proj")
_FEED_FORWARD = (("linear1", "linear2"), ("lin1", "lin2"), ("fc1", "fc2"), ("up_proj", "down_proj"))


@dataclass(frozen=True)
class Block:
    """So many units, attention heads or neurons, that can be taken out with what reads them.

    `filters` are weight name -> (rows,), the unit that each of its rows belongs to; `inputs` weight
    name -> (columns,), the unit that each of its columns reads.
    """

    units: int
    filters: dict[str, Tensor]
    inputs: dict[str, Tensor]
    heads: bool


def blocks(model: nn.Module) -> list[Block]:
    """Find the attention and feed-forward blocks of a model by their parts.

    Known are ``nn.MultiheadAttention`` and ``nn.TransformerEncoderLayer``, and what names its
    layers as transformers does: BERT, RoBERTa, DistilBERT, ViT and others. Where keys and values
    are shared by several heads, those heads are one unit.
    """
    names = {id(p): name for name, p in model.named_parameters()}
    modules = dict(model.named_modules())
    return [
        block
        for path, module in modules.items()
        for block in (
            *_multihead(module, names),
            *_attention(module, modules.get(path.rpartition(".")[0]), names),
            *_feed_forward(module, names),
        )
    ]


def head_rows(model: nn.Module) -> dict[str, int]:
    """Weight name -> how many of its rows make up one attention head."""
    return {
        name: int((rows == 0).sum()) // (3 if name.endswith("in_proj_weight") else 1)
        for block in blocks(model)
        if block.heads
        for name, rows in block.filters.items()
    }


def _multihead(module: nn.Module, names: dict[int, str]) -> Iterator[Block]:
    if not isinstance(module, nn.MultiheadAttention):
        return
    units, of_head = module.num_heads, _units(module.embed_dim, module.num_heads)
    if module.in_proj_weight is not None:
        filters = {names[id(module.in_proj_weight)]: of_head.repeat(3)}
    else:
        parts = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
        filters = {names[id(part)]: of_head for part in parts}
    yield Block(units, filters, {names[id(module.out_proj.weight)]: of_head}, True)


def _attention(
    module: nn.Module, parent: nn.Module | None, names: dict[int, str]
) -> Iterator[Block]:
    parts = next((p for p in _PROJECTIONS if all(_linear(module, n) for n in p)), None)
    sources = (module, getattr(module, "config", None))
    heads = (getattr(source, name, None) for source in sources for name in _HEADS)
    counts = [c for c in heads if isinstance(c, int) and c > 0]
    after = next((_linear(module, n) for n in _AFTER if _linear(module, n)), None)
    after = after or _linear(getattr(parent, "output", None), "dense")
    if parts is None or not counts or after is None:
        return
    layers = [getattr(module, part) for part in parts]
    units = min(counts)
    if any(layer.out_features % units for layer in layers) or after.in_features % units:
        return
    filters = {names[id(x.weight)]: _units(x.out_features, units) for x in layers}
    yield Block(units, filters, {names[id(after.weight)]: _units(after.in_features, units)}, True)


def _feed_forward(module: nn.Module, names: dict[int, str]) -> Iterator[Block]:
    first = second = None
    for one, two in _FEED_FORWARD:
        first, second = first or _linear(module, one), second or _linear(module, two)
    if first is None:
        first = _linear(getattr(module, "intermediate", None), "dense")
        second = _linear(getattr(module, "output", None), "dense")
    if first is None or second is None or first.out_features != second.in_features:
        return
    units = torch.arange(first.out_features)
    filters = {names[id(first.weight)]: units}
    gate = _linear(module, "gate_proj")
    if gate is not None:
        filters[names[id(gate.weight)]] = units
    yield Block(len(units), filters, {names[id(second.weight)]: units}, False)


def _linear(module: object, name: str) -> nn.Linear | None:
    layer = getattr(module, name, None)
    return layer if isinstance(layer, nn.Linear) else None


def _units(size: int, units: int) -> Tensor:
    return torch.arange(size) * units // size
