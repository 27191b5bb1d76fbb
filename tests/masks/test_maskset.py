"""MaskSet as a value, what may be pruned, and dead weights that stay dead through optimizers."""

import pytest
import torch
from torch import Tensor, nn

from fairsparse.core import InputError
from fairsparse.masks.maskset import MaskSet, prunable


def convnet() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
        nn.Linear(5, 3),
    )


def checkerboard(weights: dict[str, Tensor]) -> MaskSet:
    return MaskSet(
        {n: (torch.arange(w.numel()) % 2 == 0).view(w.shape) for n, w in weights.items()}
    )


def test_first_convolution_and_last_layer_are_kept_by_default() -> None:
    model = convnet()
    assert list(prunable(model)) == ["3.weight", "7.weight"]
    assert list(prunable(model, first=True)) == ["0.weight", "3.weight", "7.weight"]
    assert list(prunable(model, last=True)) == ["3.weight", "7.weight", "8.weight"]
    assert prunable(model)["3.weight"] is model[3].weight


def test_a_first_linear_layer_is_pruned() -> None:
    assert list(prunable(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))) == ["0.weight"]
    assert list(prunable(nn.Linear(3, 2), last=True)) == ["weight"]


def test_tied_weights_count_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model[1].weight = model[0].weight
    weights = prunable(model)
    assert list(weights) == ["0.weight"]
    checkerboard(weights).apply_(model)
    assert int((model[1].weight == 0).sum()) == 8


def test_a_tensor_shared_with_a_dense_layer_is_not_pruned() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    assert list(prunable(model)) == ["1.weight"]
    embedded = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 9))
    embedded[2].weight = embedded[0].weight
    assert list(prunable(embedded, last=True)) == ["1.weight"]


def test_nothing_to_prune_is_one_line() -> None:
    for model in (nn.Linear(3, 2), nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(2, 2)), nn.ReLU()):
        with pytest.raises(InputError, match="nothing to prune") as error:
            prunable(model)
        assert "\n" not in str(error.value)


def test_a_computed_weight_is_refused_by_name() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    nn.utils.parametrizations.weight_norm(model[1])
    with pytest.raises(InputError, match="layer 1 is computed"):
        prunable(model)


def test_value_semantics() -> None:
    source = torch.tensor([True, False, True, True])
    masks = MaskSet({"a": source, "b": torch.tensor([[False, True]])})
    source[:] = False
    assert (masks.n_kept, masks.n_total, masks.sparsity) == (4, 6, pytest.approx(1 / 3))
    assert repr(masks) == "MaskSet(2 tensors, 4/6 kept)"
    with pytest.raises(ValueError, match="at least one"):
        MaskSet({})
    with pytest.raises(TypeError, match="masks are bool"):
        MaskSet({"a": torch.ones(2)})


def test_order_equality_and_digest() -> None:
    a, b = torch.tensor([True, False]), torch.tensor([True, True])
    one, same = MaskSet({"a": a, "b": b}), MaskSet({"b": b, "a": a})
    assert one == same
    assert len({one, same}) == 1
    tighter = MaskSet({"a": a, "b": a})
    assert tighter <= one
    assert not one <= tighter
    assert one <= one
    assert tighter != one
    assert not MaskSet({"a": a}) <= one
    # the same bits under other names or in other shapes are other masks
    digests = {m.digest() for m in (one, tighter, MaskSet({"a": a, "c": b}))}
    digests.add(MaskSet({"a": a.view(2, 1), "b": b}).digest())
    assert len(digests) == 4


def test_dense_keeps_everything() -> None:
    weights = prunable(convnet())
    masks = MaskSet.dense(weights)
    assert masks.sparsity == 0
    assert {n: m.shape for n, m in masks.items()} == {n: w.shape for n, w in weights.items()}


def test_applying_and_noticing_what_is_not_applied() -> None:
    model = convnet()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    masks = checkerboard(prunable(model))
    assert not masks.is_applied(model)
    masks.apply_(model)
    assert masks.is_applied(model)
    for name, p in model.named_parameters():
        expected = before[name] * masks[name] if name in masks else before[name]
        assert torch.equal(p, expected)
    with torch.no_grad():
        model[3].weight.view(-1)[1] = 1e-30
    assert not masks.is_applied(model)


def test_masks_of_another_model_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no parameter 3\.weight"):
        checkerboard(prunable(convnet())).bind(nn.Linear(2, 2))


def test_gradients_are_masked_and_missing_ones_passed_over() -> None:
    model = convnet()
    masks = checkerboard(prunable(model))
    masks.apply_to_grad_(model)
    model[3].weight.grad = torch.ones_like(model[3].weight)
    masks.apply_to_grad_(model)
    assert torch.equal(model[3].weight.grad.bool(), masks["3.weight"])
    assert model[7].weight.grad is None


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1, amsgrad=True),
}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_dead_weights_stay_dead_through_training(
    optimizer: str, layout: torch.memory_format
) -> None:
    model = convnet().to(memory_format=layout)
    masks = checkerboard(prunable(model))
    dead = {name: ~mask for name, mask in masks.items()}
    steps = OPTIMIZERS[optimizer](model.parameters())
    x, y = torch.randn(6, 2, 5, 5), torch.arange(6) % 3

    def backward() -> None:
        steps.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()

    backward()  # a dense step, so that the moments of the weights to die are not zero to begin with
    steps.step()
    weights = prunable(model)
    moved = [v for v in steps.state[weights["3.weight"]].values() if v.ndim == 4]
    assert all(bool(v[dead["3.weight"]].any()) for v in moved)
    before = {name: w.detach().clone() for name, w in weights.items()}

    bound = masks.bind(model)
    bound.weights_()
    bound.state_(steps)
    for _ in range(5):
        backward()
        bound.grads_()
        steps.step()
        for name, w in weights.items():
            assert not bool(w[dead[name]].any())
            for value in steps.state[w].values():
                assert value.shape != w.shape or not bool(value[dead[name]].any())
    for name, w in weights.items():
        assert bool((w[masks[name]] != before[name][masks[name]]).all())
        assert w.is_contiguous(memory_format=layout if w.ndim == 4 else torch.contiguous_format)
