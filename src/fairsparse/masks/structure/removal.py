"""What else goes with a filter: its channel's BatchNorm, and the inputs that read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fairsparse.core import Scores
from fairsparse.masks.criteria.filters import broadcast
from fairsparse.masks.structure.channels import Channels


@dataclass(frozen=True)
class Removal:
    """What can be taken out of a network without changing its function: name -> indices.

    Of filters, the rows of a weight and the numbers of its bias; of the channels of a BatchNorm; of
    inputs, the columns of a weight. Those `waiting` are filters that are empty and have to stay,
    because their channel is also written by a living filter, or is not free to go.
    """

    filters: dict[str, Tensor]
    norms: dict[str, Tensor]
    inputs: dict[str, Tensor]
    waiting: dict[str, Tensor]


def removal(channels: Channels, masks: Mapping[str, Tensor]) -> Removal:
    """List what goes with the empty filters of `masks`.

    A channel goes when it is free and every filter that writes it is empty, so that the filters of
    a residual stage go together or not at all. Layers without a mask are whole.
    """
    gone = _dead(channels, masks)
    waiting = {}
    for name, mask in masks.items():
        if name in channels.filters:
            empty = ~mask.cpu().flatten(1).any(1)
            waiting[name] = (empty & ~gone[channels.filters[name]]).nonzero()[:, 0]
    return Removal(
        _indices(channels.filters, gone),
        _indices(channels.norms, gone),
        _indices(channels.inputs, gone),
        {name: filters for name, filters in waiting.items() if len(filters)},
    )


def silence_(model: nn.Module, gone: Removal) -> None:
    """Set to zero whatever belongs to the channels that go: they then carry zero everywhere.

    Zeroed are the filters and their biases, weight and bias of BatchNorm, and the next layers'
    weights for these inputs. The running mean and variance of BatchNorm stay as they are: weight
    and bias of zero give zero whatever they hold. After this the channels can be cut out of every
    tensor, and the network computes the same.

    An empty filter alone is not silent: its bias, or BatchNorm's shift, still passes on a
    constant. Where there is one, this changes what the network computes; train or recalibrate it
    afterwards. Training moves these numbers again, unless they are masked too.
    """
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, index in gone.filters.items():
            parameters[name][index] = 0
            bias = parameters.get(f"{name.removesuffix('weight')}bias")
            if bias is not None:
                bias[index] = 0
        for name, index in gone.norms.items():
            for part in ("weight", "bias"):
                parameters[f"{name}.{part}"][index] = 0
        for name, index in gone.inputs.items():
            parameters[name][:, index] = 0


def shared(channels: Channels, scores: Scores) -> Scores:
    """Give all filters that write one channel one score, the mean of theirs.

    Ranked by it, filters whose outputs are added up go together. A filter's own score is the mean
    over its weights. Layers that `channels` does not know keep their scores.
    """
    total = torch.zeros(len(channels.free), dtype=torch.float64)
    count = torch.zeros_like(total)
    own = {}
    for name, score in scores.items():
        if name in channels.filters:
            own[name] = score.detach().double().flatten(1).mean(1).cpu()
            total.index_add_(0, channels.filters[name], own[name])
            count.index_add_(0, channels.filters[name], torch.ones_like(own[name]))
    mean = total / count.clamp_min(1)
    return {
        name: broadcast(mean[channels.filters[name]].to(score.device), score)
        if name in own
        else score
        for name, score in scores.items()
    }


def _dead(channels: Channels, masks: Mapping[str, Tensor]) -> Tensor:
    """Whether each channel (K,) is free, written by filters, and by empty ones alone."""
    written, alive = torch.zeros((2, *channels.free.shape), dtype=torch.bool)
    for name, index in channels.filters.items():
        written[index] = True
        live = masks[name].cpu().flatten(1).any(1) if name in masks else slice(None)
        alive[index[live]] = True
    return channels.free & written & ~alive


def _indices(table: dict[str, Tensor], gone: Tensor) -> dict[str, Tensor]:
    places = {name: gone[index].nonzero()[:, 0] for name, index in table.items()}
    return {name: index for name, index in places.items() if len(index)}
