"""Prune with examples from a map-style Dataset that knows a group for most of its examples."""

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import fairsparse


class Visits(Dataset):
    """Made-up visits to two clinics; the signs of illness are fainter in the south."""

    def __init__(self, n: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.group = (torch.rand(n, generator=generator) < 0.25).long()
        self.y = (torch.rand(n, generator=generator) < 0.4).long()
        strength = torch.where(self.group == 1, 0.6, 1.2)
        signal = (2 * self.y - 1) * strength
        self.x = torch.randn(n, 12, generator=generator) + 0.5 * signal[:, None]
        self.group[::20] = -1  # not recorded: such examples count in no group

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[Tensor, int, int]:
        return self.x[i], int(self.y[i]), int(self.group[i])


task = fairsparse.task(
    train=Visits(2000, seed=0),
    test=Visits(1500, seed=1),
    class_names=["well", "ill"],
    group_names=["north", "south"],
)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 2))
result = fairsparse.prune(
    model,
    task,
    "ballot",
    sparsity=0.9,
    cells="equalized-odds",  # accuracy between groups, among the well and among the ill
    levels=[0.6],
    training={"epochs": 5, "batch_size": 64, "lr": 0.05},
)

for name in ("accuracy", "accuracy_gap", "equalized_odds"):
    values = result.report["metrics"][name]
    print(name)
    for which in ("reference", "candidate", "change"):
        e = values[which]
        print(f"  {which:<10}{e['value']:+.3f}  [{e['low']:+.3f}, {e['high']:+.3f}]")
unknown = result.report["reference"]["n_unknown"]
print(f"{unknown} test examples have no known group")
