"""Taking out what masks leave without use, and whether the network computes the same."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.structure.channels import channels
from fairsparse.masks.structure.removal import Removal, removal, silence_


def cut(model: nn.Module, gone: Removal) -> nn.Module:
    """A copy whose tensors lack what goes: the smaller network itself."""
    made = copy.deepcopy(model)
    for name, module in made.named_modules():
        rows, columns = gone.filters.get(f"{name}.weight"), gone.inputs.get(f"{name}.weight")
        norm = gone.norms.get(name)
        for part, t in list(module._parameters.items()) + list(module._buffers.items()):
            if t is None or not t.dim():
                continue
            for index, dim in ((rows, 0), (columns, 1), (norm, 0)):
                if index is not None and dim < t.dim():
                    left = torch.ones(t.shape[dim], dtype=torch.bool)
                    left[index] = False
                    t = t.detach().index_select(dim, left.nonzero()[:, 0])
            store = module._parameters if part in module._parameters else module._buffers
            store[part] = nn.Parameter(t) if part in module._parameters else t
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            module.groups = len(module.weight)
    return made


def assert_goes(
    model: nn.Module, masks: MaskSet, x: Tensor, small: bool = True, tolerance: float = 1e-5
) -> Removal:
    """Silence what goes; zeroed inputs and the cut network compute the same as the masked one."""
    model.eval()
    masks.apply_(model)
    gone = removal(channels(model, x[:2]), masks)
    masked = copy.deepcopy(model)
    silence_(masked, Removal(gone.filters, gone.norms, {}, {}))  # the next layers still read it all
    silence_(model, gone)
    expected = masked(x)
    torch.testing.assert_close(model(x), expected, atol=tolerance, rtol=tolerance)
    if small:
        less = cut(model, gone)
        assert sum(p.numel() for p in less.parameters()) < sum(
            p.numel() for p in model.parameters()
        )
        torch.testing.assert_close(less(x), expected, atol=tolerance, rtol=tolerance)
    assert float(expected.detach().std()) > 1e-3
    return gone
