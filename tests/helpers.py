"""Tiny tasks, networks and trainers: hundreds of examples in memory, a few epochs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fairsparse.checkpoint import Stages, digest
from fairsparse.data.task import Split, TrainData
from fairsparse.experiments.options import regrouped
from fairsparse.fairness.cells import Cells
from fairsparse.masks.maskset import MaskSet
from fairsparse.methods import METHODS, Method
from fairsparse.training import Recipe, Run, State, Trainer, train_dense

# on such small tensors a second thread costs more than it brings
torch.set_num_threads(1)

SHAPES = {"mlp": (8,), "twice": (8,), "conv": (1, 8, 8), "residual": (1, 8, 8)}


def split(
    n: int, shape: tuple[int, ...], classes: int, groups: int, seed: int, rare: bool = False
) -> Split:
    """Overlapping Gaussian clusters, one per class.

    With `groups`, every seventh example's group is unknown. With `rare`, the last class has three
    examples, so most batches miss it.
    """
    centres = torch.randn(classes, *shape, generator=torch.Generator().manual_seed(99))
    y = torch.arange(n) % classes
    if rare:
        y = torch.where(torch.arange(n) < 3, classes - 1, torch.arange(n) % (classes - 1))
    noise = torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))
    group = torch.full((n,), -1)
    if groups:
        group = torch.where(torch.arange(n) % 7 == 6, -1, torch.arange(n) // classes % groups)
    return Split(0.7 * centres[y] + noise, y, group)


def tiny(
    shape: tuple[int, ...] = (8,), *, classes: int = 3, groups: int = 0, rare: bool = False
) -> TrainData:
    """192 training, 96 calibration and 96 validation examples."""
    names = tuple(f"c{i}" for i in range(classes)), tuple(f"g{i}" for i in range(groups))
    train, cal, val = (
        split(n, shape, classes, groups, seed, rare) for n, seed in ((192, 1), (96, 2), (96, 3))
    )
    return TrainData(train, cal, val, *names)


def ballot_of(**options: Any) -> Any:
    """Ballot with options of its groups beside the others."""
    kind = METHODS["ballot"]
    return kind(**regrouped(kind, options))


class Residual(nn.Module):
    """One residual block with BatchNorm between two convolutions and a linear layer."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 6, 3, padding=1, bias=False)
        self.one = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.two = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.head = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = (x + self.two(self.norm(self.one(x)).relu())).relu()
        return self.head(x.mean((2, 3)))


def network(kind: str, classes: int = 3, seed: int = 0) -> nn.Module:
    """A tiny network for `SHAPES`: ``conv`` has BatchNorm, ``twice`` one layer of two names."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "residual":
            return Residual(1, classes)
        if kind == "conv":
            return nn.Sequential(
                nn.Conv2d(1, 4, 3, padding=1, bias=False),
                nn.BatchNorm2d(4),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(4, 8, 3, padding=1, bias=False),
                nn.BatchNorm2d(8),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(128, classes),
            )
        if kind == "twice":
            layer = nn.Linear(16, 16)
            parts = (nn.Linear(8, 16), nn.ReLU(), layer, nn.ReLU(), layer, nn.ReLU())
            return nn.Sequential(*parts, nn.Linear(16, classes))
        return nn.Sequential(
            nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, classes)
        )


def trainer_for(
    data: TrainData,
    *,
    notion: str = "class",
    seed: int = 0,
    folder: Path | None = None,
    **recipe: Any,
) -> Trainer:
    """A trainer with two epochs of six steps unless `recipe` says otherwise."""
    options = {"epochs": 2, "batch_size": 32, "lr": 0.05, **recipe}
    cells = Cells(notion, data.class_names, data.group_names)
    return Trainer(Recipe(**options), cells, seed, Stages(folder), parent=f"tiny {seed}")


class Bench(Run):
    """All that a method is given, with a trained dense network."""

    def run(self, method: Method) -> Any:
        return method.run(self)

    def weights(self, method: Method) -> dict[str, Tensor]:
        return method.weights(self.model)


def bench(
    method: Method,
    kind: str = "mlp",
    *,
    groups: int = 0,
    rare: bool = False,
    snapshots: Iterable[int] = (),
    **trainer: Any,
) -> Bench:
    """Train the dense network with the snapshots `method` needs."""
    data = tiny(SHAPES[kind], groups=groups, rare=rare)
    made = trainer_for(data, **trainer)
    model = network(kind, seed=made.seed)
    wanted = method.snapshots(made.total_steps(data.train)) | set(snapshots)
    return Bench(model, data, made, train_dense(model, data, made, wanted))


def fingerprint(state: State) -> str:
    """Digest of a state's bits."""
    return digest(state, "")


def equal(a: State, b: State) -> bool:
    """Whether two states agree bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def dead_everywhere(state: State, masks: MaskSet) -> bool:
    """Whether every pruned weight of `state` is exactly zero."""
    return all(not bool(state[name][~mask].any()) for name, mask in masks.items())
