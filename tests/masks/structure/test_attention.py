"""Heads and feed-forward neurons: found in transformers, scored together, and taken out whole."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers
from torch import Tensor, nn

from cutting import cut
from fairsparse.core import Batch
from fairsparse.masks.criteria.scorers import magnitude
from fairsparse.masks.maskset import MaskSet, prunable
from fairsparse.masks.selection import select
from fairsparse.masks.structure.attention import blocks, head_rows
from fairsparse.masks.structure.channels import channels
from fairsparse.masks.structure.removal import removal, shared, silence_
from fairsparse.methods.ballot.conflict import measure
from fairsparse.models import build

BERT = {"hidden": 24, "heads": 3, "intermediate": 20, "layers": 2, "vocab_size": 50}


def bert() -> nn.Module:
    model = build("bert", (9,), 4, **BERT)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("bias"):
                p.normal_(0, 0.3)  # so that an empty head is not silent
    return model.eval()


def listed(model: nn.Module) -> list[tuple[int, bool]]:
    """Units of each block, those of attention first."""
    return sorted(((b.units, b.heads) for b in blocks(model)), key=lambda b: not b[1])


def tokens(n: int = 5) -> Tensor:
    x = torch.randint(0, 50, (n, 9), generator=torch.Generator().manual_seed(0))
    x[1, 4:] = -1
    return x


class Encoder(nn.Module):
    """torch's own layers."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(24, 4, 30, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.encoder(x).mean(1))
        return y


def test_bert_has_a_unit_for_each_head_and_each_neuron() -> None:
    model = bert()
    assert listed(model) == [(3, True)] * 2 + [(20, False)] * 2
    second, first = blocks(model)[:2]
    start = "model.bert.encoder.layer.0."
    queries = f"{start}attention.self.query.weight"
    assert set(first.filters) == {queries.replace("query", n) for n in ("query", "key", "value")}
    assert first.filters[queries].tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert (
        first.inputs[f"{start}attention.output.dense.weight"].tolist()
        == [0] * 8 + [1] * 8 + [2] * 8
    )
    assert list(second.filters) == [f"{start}intermediate.dense.weight"]
    assert list(second.inputs) == [f"{start}output.dense.weight"]
    assert head_rows(model)[queries] == 8


KINDS = {
    "roberta": (transformers.RobertaConfig, transformers.RobertaForSequenceClassification),
    "distilbert": (transformers.DistilBertConfig, transformers.DistilBertForSequenceClassification),
    "vit": (transformers.ViTConfig, transformers.ViTForImageClassification),
    "llama": (transformers.LlamaConfig, transformers.LlamaForSequenceClassification),
}


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_of_other_transformers_are_found(kind: str) -> None:
    make, build_ = KINDS[kind]
    small = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes = {**small, "intermediate_size": 20, "vocab_size": 60, "pad_token_id": 0}
    if kind == "distilbert":
        sizes = {"dim": 24, "n_layers": 2, "n_heads": 4, "hidden_dim": 20, "vocab_size": 60}
    if kind == "llama":
        sizes["num_key_value_heads"] = 2
    model = build_(make(**sizes))
    heads = 2 if kind == "llama" else 4  # keys and values serve two heads each
    assert listed(model) == [(heads, True)] * 2 + [(20, False)] * 2
    for block in blocks(model):
        parameters = dict(model.named_parameters())
        for name, rows in block.filters.items():
            assert len(rows) == len(parameters[name])
            assert rows.unique().tolist() == list(range(block.units))
        for name, columns in block.inputs.items():
            assert len(columns) == parameters[name].shape[1]


def test_torchs_own_attention_is_prunable_and_has_heads() -> None:
    model = Encoder()
    weights = prunable(model)
    assert [n for n in weights if "0" in n] == [
        f"encoder.layers.0.{n}"
        for n in (
            "self_attn.in_proj_weight",
            "self_attn.out_proj.weight",
            "linear1.weight",
            "linear2.weight",
        )
    ]
    assert listed(model) == [(4, True)] * 2 + [(30, False)] * 2
    assert head_rows(model)["encoder.layers.0.self_attn.in_proj_weight"] == 6
    plain = nn.MultiheadAttention(24, 4, kdim=10, vdim=12)
    assert len(prunable(nn.Sequential(plain, nn.Linear(24, 2)))) == 3 + 1


def without_units(model: nn.Module, x: Tensor, heads: list[int], neurons: list[int]) -> MaskSet:
    """Masks that empty these heads and neurons of the first layer."""
    masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in prunable(model).items()}
    for block in blocks(model)[:2]:
        gone = torch.tensor(heads if block.heads else neurons)
        for name, rows in block.filters.items():
            masks[name][torch.isin(rows, gone)] = False
    return MaskSet(masks)


@pytest.mark.parametrize("kind", ["bert", "torch"])
def test_heads_and_neurons_go_without_a_trace(kind: str) -> None:
    torch.manual_seed(0)
    model = bert() if kind == "bert" else Encoder().eval()
    x = tokens() if kind == "bert" else torch.randn(5, 7, 24)
    for name, p in model.named_parameters():
        if name.endswith("bias"):  # zero or below it, a bias would not pass a ReLU
            nn.init.uniform_(p, 0.1, 0.5)
    masks = without_units(model, x, [1], [0, 3, 19])
    masks.apply_(model)
    before = model(x)
    gone = removal(channels(model, x), masks)
    size = 8 if kind == "bert" else 6
    widths = {len(index) for index in gone.filters.values()}
    assert widths == ({size, 3} if kind == "bert" else {3 * size, 3})
    masked = copy.deepcopy(model)
    silence_(model, gone)
    after = model(x)
    assert not torch.allclose(before, after)  # an empty head still passed on its bias
    # what reads the units reads zeros: with or without its weights for them
    for name, index in gone.inputs.items():
        dict(model.named_parameters())[name].data[:, index] = 5.0
    torch.testing.assert_close(model(x), after, atol=1e-4, rtol=1e-4)
    if kind == "bert":
        silence_(masked, gone)
        small = cut(masked, gone)
        assert sum(p.numel() for p in small.parameters()) < sum(
            p.numel() for p in model.parameters()
        )
        torch.testing.assert_close(small(x), after, atol=1e-4, rtol=1e-4)


def test_a_head_has_one_score() -> None:
    model, x = bert(), tokens()
    scores = shared(channels(model, x), magnitude(prunable(model)))
    for block in blocks(model):
        for unit in range(block.units):
            mine = [scores[name][rows == unit].unique() for name, rows in block.filters.items()]
            assert len(torch.cat(mine).unique()) == 1
    masks = select(scores, 0.4, grouping="filter")
    torn = 0
    for block in blocks(model):
        alive = torch.stack(
            [
                torch.stack([masks[n].any(1)[rows == u].float().mean() for u in range(block.units)])
                for n, rows in block.filters.items()
            ]
        )
        torn += int(((alive > 0) & (alive < 1)).any(0).sum())
    assert torn <= 1  # the unit in which the count ends


def test_conflict_of_a_head_is_that_of_its_rows_together() -> None:
    model, x = bert(), tokens()
    y, group = torch.tensor([0, 1, 2, 3, 0]), torch.zeros(5, dtype=torch.int64)
    weights = prunable(model)

    def goal(logits: Tensor, batch: Batch) -> Tensor:
        return nn.functional.cross_entropy(logits, batch.y)

    def other(logits: Tensor, batch: Batch) -> Tensor:
        return logits[:, 0].square().mean() - logits[:, 1].mean()

    found = measure(model, weights, [Batch(x, y, group)], goal, other)
    name = "model.bert.encoder.layer.1.attention.self.value.weight"
    a, f = found[name].goal.view(3, -1), found[name].other.view(3, -1)
    expected = torch.cosine_similarity(a, f).repeat_interleave(8)
    torch.testing.assert_close(found[name].cosines[0], expected.double(), atol=1e-5, rtol=1e-4)
    neurons = "model.bert.encoder.layer.1.intermediate.dense.weight"
    assert len(found[neurons].cosines[0].unique()) > 15


def test_layers_named_like_a_block_are_followed_all_the_same() -> None:
    class Named(nn.Module):
        def __init__(self, sigmoid: bool) -> None:
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(6, 10), nn.Linear(10, 3)
            self.between = nn.Sigmoid() if sigmoid else nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.fc2(self.between(self.fc1(x)))
            return y

    x = torch.randn(4, 6)
    for sigmoid in (False, True):
        found = channels(Named(sigmoid), x)
        # a sigmoid of zero is a half: what follows needs the neurons that are empty
        assert bool(found.free[found.filters["fc1.weight"]].all()) != sigmoid
