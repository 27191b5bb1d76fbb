"""The trainer: what all stages of one run share, its seeds, and the passes that do not train."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from fairsparse.checkpoint import Stages
from fairsparse.core import Batch, Predictions
from fairsparse.data.task import Split
from fairsparse.fairness.cells import Cells
from fairsparse.training.recipe import Recipe, augment

State = dict[str, Tensor]
"""Name -> parameter or buffer, on the CPU."""
Progress = Callable[[str, int, int, Mapping[str, Any]], None]
"""(stage, step, total steps, running figures) -> None; called several times an epoch."""


def derive(seed: int, *parts: object) -> int:
    """A seed for one purpose, independent of every other purpose's.

    >>> derive(0, "order", 1) == derive(0, "order", 1) != derive(0, "order", 2)
    True
    """
    text = repr((seed, *parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:7], "little")


def between(a: Mapping[str, Tensor], b: Mapping[str, Tensor], share: float) -> State:
    """The state at `share` of the straight line from `a`, at 0, to `b`, at 1.

    What is no floating point number, such as a count of batches, is that of `a` before the end.
    """
    last = b if share == 1 else a
    return {
        name: t.lerp(b[name].to(t.device), share) if t.is_floating_point() else last[name]
        for name, t in a.items()
    }


def state_of(model: nn.Module) -> State:
    """Copy of the model's parameters and buffers."""
    return {
        name: t.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, t in model.state_dict().items()
    }


@dataclass
class Trainer:
    """Trains and evaluates; holds what all stages of one run share."""

    recipe: Recipe
    cells: Cells
    """Whose statistics are watched, and which methods are to keep equal."""
    seed: int = 0
    stages: Stages = field(default_factory=lambda: Stages(None))
    """Store of finished stages."""
    parent: str = ""
    """Hash of task, model, recipe and seed: every stage's key begins with it."""
    progress: Progress | None = None

    def __post_init__(self) -> None:
        self.accelerator = Accelerator()
        self.history: list[dict[str, Any]] = []
        self.steps = 0
        self.seconds: dict[str, float] = {}
        self.memory: dict[str, float] = {}

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    def steps_per_epoch(self, split: Split) -> int:
        return max(1, len(split) // (self.recipe.batch_size * self.accelerator.num_processes))

    def total_steps(self, split: Split) -> int:
        """Steps of one complete training run, T."""
        return self.recipe.epochs * self.steps_per_epoch(split)

    def generator(self, *purpose: object) -> torch.Generator:
        return torch.Generator().manual_seed(derive(self.seed, *purpose))

    def place(self, model: nn.Module) -> None:
        """Move `model` to the device and memory layout of the recipe, in place."""
        model.to(self.device)
        if self.recipe.channels_last:
            model.to(memory_format=torch.channels_last)

    def autocast(self) -> torch.autocast:
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"
        )

    def to_device(self, batch: Batch) -> Batch:
        x, y, group = (send_to_device(part, self.device, non_blocking=True) for part in batch)
        if self.recipe.channels_last and isinstance(x, Tensor) and x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        return Batch(x, y, group)

    def predict(self, model: nn.Module, split: Split, batch_size: int | None = None) -> Predictions:
        """Logits of `model` on every example, in evaluation mode and in the split's order."""
        if batch_size is None:  # what stays in a CPU's cache is faster than what fills a GPU
            batch_size = 64 if self.device.type == "cpu" else 1024
        training = model.training
        self.place(model)
        model.eval()
        parts = []
        try:
            with torch.inference_mode(), self.autocast():
                indices = torch.arange(len(split)).split(batch_size)
                for index, raw in zip(indices, self.read(split, indices), strict=True):
                    batch = Batch(split.prepare(raw), split.y[index], split.group[index])
                    parts.append(model(self.to_device(batch).x).float().cpu())
        finally:
            model.train(training)
        return Predictions(torch.cat(parts), split.y, split.group)

    def read(self, split: Split, indices: Sequence[Tensor]) -> Iterator[Any]:
        """Yield the stored inputs of one batch after another.

        What is not in memory is read ahead by the recipe's `workers`, processes that end with the
        last batch.
        """
        if isinstance(split.x, Tensor) or not self.recipe.workers or len(indices) < 2:
            yield from (split.raw(index) for index in indices)
            return
        yield from DataLoader(
            _Batches(split),
            sampler=indices,
            batch_size=None,
            num_workers=min(self.recipe.workers, len(indices)),
            pin_memory=self.device.type == "cuda",
        )

    def training_batch(self, train: Split, index: Tensor, *draw: object, raw: Any = None) -> Batch:
        """A batch on the device, augmented by what `draw` and the seed determine.

        `raw` are its inputs as `read` yields them, where they are read already.
        """
        x = send_to_device(train.raw(index) if raw is None else raw, self.device)
        if self.recipe.augment:
            x = augment(x, self.recipe.augment, self.generator(*draw))
        return self.to_device(Batch(train.prepare(x), train.y[index], train.group[index]))

    def recalibrate(self, model: nn.Module, train: Split, batches: int) -> None:
        """Set BatchNorm's statistics to averages over fresh batches; no weight changes.

        The batches are augmented as in training, whose statistics the layers above are used to.
        """
        norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        if not norms or not batches:
            return
        momenta = [m.momentum for m in norms]
        order = torch.randperm(len(train), generator=self.generator("recalibrate"))
        training = model.training
        model.train()
        for m in norms:
            m.reset_running_stats()
            m.momentum = None  # cumulative average
        with torch.no_grad(), self.autocast():
            for i, index in enumerate(order.split(self.recipe.batch_size)[:batches]):
                if len(index) > 1:
                    model(self.training_batch(train, index, "recalibrate", i).x)
        for m, momentum in zip(norms, momenta, strict=True):
            m.momentum = momentum
        model.train(training)

    def along(
        self,
        model: nn.Module,
        ends: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
        shares: Iterable[float],
        split: Split,
        train: Split,
        batches: int,
        keep_ends: bool = False,
    ) -> Iterator[Predictions]:
        """Predict `split` with the networks at `shares` of the straight line between two states.

        BatchNorm's statistics are estimated anew from `batches` of `train`, since those of neither
        end fit on the way; with `keep_ends` the ends keep theirs. `model` is changed.
        """
        for share in shares:
            model.load_state_dict(between(*ends, share))
            if 0 < share < 1 or not keep_ends:
                self.place(model)
                self.recalibrate(model, train, batches)
            yield self.predict(model, split)


class _Batches(Dataset[Any]):
    """A split whose items are whole batches, by the index of their examples."""

    def __init__(self, split: Split) -> None:
        self.split = split

    def __getitem__(self, index: Tensor) -> Any:
        return self.split.raw(index)
