"""Tickets: a seed and a bit a weight are the network again, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fairsparse.checkpoint import write_tensors
from fairsparse.core import InputError
from fairsparse.masks.criteria import scorers
from fairsparse.masks.maskset import MaskSet, prunable
from fairsparse.masks.selection import select
from fairsparse.methods.fair_scratch.method import FairScratch
from fairsparse.methods.fair_scratch.ticket import Source, Ticket, randomize_
from fairsparse.models import build
from fairsparse.training import state_of
from helpers import Bench, bench, equal, network


def found(kind: str = "conv", **options: Any) -> tuple[Bench, Any, Ticket]:
    method = FairScratch(sparsity=0.73, **options)
    case = bench(method, kind, seed=5)
    masks = case.run(method).masks
    return case, masks, Ticket.of(case.model, masks, method.source(5))


@pytest.mark.parametrize("kind", ["mlp", "conv", "residual"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"init": "kaiming", "rest": "trained"},
        {"init": "unsigned-constant", "granularity": "kernel", "scale_fan": False},
        {"prune_first": True, "prune_last": True, "scope": "erk"},
    ],
    ids=str,
)
def test_round_trip(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    case, masks, ticket = found(kind, **options)
    ticket.write(tmp_path / "ticket.safetensors")
    other = network(kind, seed=99)
    again = Ticket.read(tmp_path / "ticket.safetensors")
    assert again.unpack(other) == masks
    assert equal(state_of(other), state_of(case.model))
    assert masks.is_applied(other)
    assert again.nbytes == ticket.nbytes


def test_the_bits_are_the_masks() -> None:
    _, masks, ticket = found()
    (name,) = masks
    flat = masks[name].flatten().tolist()
    first = sum(bit << (7 - i) for i, bit in enumerate(flat[:8]))
    assert int(ticket.bits[name][0]) == first
    assert np.unpackbits(ticket.bits[name].numpy()).sum() == masks.n_kept


def test_a_ticket_is_a_few_per_cent_of_the_network(tmp_path: Path) -> None:
    model = build("resnet20", (3, 32, 32), 10)
    weights = FairScratch().weights(model)
    generator = torch.Generator().manual_seed(0)
    masks = select(scorers.random(weights, generator), 0.9, scope="layerwise")
    source = Source(7)
    randomize_(model, source, {name: int(mask.sum()) for name, mask in masks.items()})
    masks.apply_(model)
    Ticket.of(model, masks, source).write(tmp_path / "ticket.safetensors")
    write_tensors(tmp_path / "dense.safetensors", model.state_dict(), {})
    sizes = {p.stem: p.stat().st_size for p in tmp_path.iterdir()}
    assert sizes["ticket"] < 0.05 * sizes["dense"]


def test_the_seed_decides_and_nothing_else() -> None:
    models = []
    for noise, seed in ((1, 0), (2, 0), (3, 1)):
        torch.manual_seed(noise)
        model = build("small-cnn", (1, 28, 28), 10, seed=noise)
        state = torch.get_rng_state()
        randomize_(model, Source(seed), {})
        assert torch.equal(state, torch.get_rng_state())
        models.append(state_of(model))
    assert equal(models[0], models[1])
    assert not equal(models[0], models[2])


def test_random_weights_have_the_deviation_of_their_fan() -> None:
    for kind in ("signed-constant", "kaiming"):
        for share in (1.0, 0.25):
            w = Source(0, kind).draw("w", torch.Size((400, 100)), share)
            assert float(w.square().mean()) == pytest.approx(2 / (100 * share), rel=0.02)
            assert abs(float(w.mean())) < 0.01
    same = Source(0, scale_fan=False)
    assert torch.equal(
        same.draw("w", torch.Size((4, 3)), 0.1), same.draw("w", torch.Size((4, 3)), 1.0)
    )
    assert float(Source(0, "unsigned-constant").draw("w", torch.Size((4, 2)), 1.0).min()) == 1.0


def test_layers_without_masks_are_not_constant_and_norms_do_nothing() -> None:
    model = network("conv", seed=3)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1)
    done = randomize_(model, Source(0), {"4.weight": 20})
    assert done == set(dict(model.named_parameters()))
    assert model[4].weight.abs().unique().numel() == 1  # type: ignore[index, union-attr]
    assert model[0].weight.abs().unique().numel() == 36  # type: ignore[index, union-attr]
    norm: Any = model[1]  # type: ignore[index]
    assert norm.weight.tolist() == [1] * 4
    assert norm.bias.tolist() == [0] * 4
    assert model[8].bias.tolist() == [0] * 3  # type: ignore[index, union-attr]


def test_what_the_seed_does_not_give_is_stored() -> None:
    class Embedded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(5, 4)
            self.layers = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))

    model, other = Embedded(), Embedded()
    randomize_(model, Source(0), {"layers.0.weight": 16})
    masks = MaskSet.dense(FairScratch().weights(model))
    ticket = Ticket.of(model, masks, Source(0))
    assert set(ticket.rest) == {"table.weight"}
    ticket.unpack(other)
    assert equal(state_of(model), state_of(other))


def test_another_seed_or_changed_weights_are_refused() -> None:
    case, masks, _ = found()
    with pytest.raises(InputError, match="is not what seed 6 and its mask give"):
        Ticket.of(case.model, masks, Source(6))
    with torch.no_grad():
        case.model.get_parameter("4.weight").mul_(1.5)
    with pytest.raises(InputError, match="is not what seed 5 and its mask give"):
        Ticket.of(case.model, masks, Source(5))


def test_another_architecture_or_file_is_refused(tmp_path: Path) -> None:
    _, _, ticket = found()
    with pytest.raises(InputError, match="bytes of mask for"):
        ticket.unpack(network("mlp"))
    other = build("small-cnn", (1, 8, 8), 3, width=4)
    with pytest.raises(InputError, match="architecture"):
        ticket.unpack(other)
    write_tensors(tmp_path / "stage.safetensors", {"a": torch.ones(1)}, {"log": {}})
    with pytest.raises(InputError, match="not a ticket"):
        Ticket.read(tmp_path / "stage.safetensors")
    with pytest.raises(InputError, match="cannot be read"):
        Ticket.read(tmp_path / "absent.safetensors")


def test_numbers_drawn_otherwise_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, ticket = found()
    plain = Source.draw
    monkeypatch.setattr(
        Source, "draw", lambda self, name, shape, kept: -plain(self, name, shape, kept)
    )
    with pytest.raises(InputError, match="does not give the ticket's weights"):
        ticket.unpack(network("conv"))


def test_a_layer_of_two_names_is_not_stored_as_if_it_were_trained() -> None:
    model = network("twice")
    keep = {"0.weight": 20, "2.weight": 30}
    randomize_(model, Source(3), keep)
    masks = MaskSet(
        {n: torch.arange(w.numel()).view(w.shape) < keep[n] for n, w in prunable(model).items()}
    )
    masks.apply_(model)
    ticket = Ticket.of(model, masks, Source(3))
    assert not ticket.rest
    again = network("twice", seed=1)
    assert ticket.unpack(again) == masks
    assert equal(state_of(again), state_of(model))
