"""Prune a network of your own on tensors of your own, and see which class paid for it."""

import torch
from sklearn.datasets import make_classification
from torch import nn

import fairsparse

# Four classes, the last one rare.
x, y = make_classification(
    n_samples=3000,
    n_features=20,
    n_informative=10,
    n_classes=4,
    weights=[0.4, 0.3, 0.25, 0.05],
    class_sep=1.5,
    random_state=0,
)
task = fairsparse.task(
    train=(x[:2000], y[:2000]), test=(x[2000:], y[2000:]), standardize=True, name="four classes"
)


class Network(nn.Module):
    """Anything that maps inputs to logits; its linear layers and convolutions can be pruned."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(20, 64)
        self.between = nn.Linear(64, 64)
        self.outside = nn.Linear(64, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.outside(self.between(self.inside(x).relu()).relu())


torch.manual_seed(0)
result = fairsparse.prune(
    Network(),
    task,
    "ballot",
    sparsity=0.9,
    levels=[0.5, 0.75],
    training={"epochs": 20, "batch_size": 32, "lr": 0.1},
)

print(f"{result.masks.sparsity:.1%} of {result.masks.n_total} weights are zero")
for cell in result.report["cells"]:
    print(
        f"{cell['name']}: n = {cell['n']}, accuracy {cell['reference']:.3f} ->"
        f" {cell['candidate']:.3f}, drop in [{cell['low']:+.3f}, {cell['high']:+.3f}]"
    )
