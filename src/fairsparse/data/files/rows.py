"""Inputs that stay on disk and are read by number."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from torch.utils.data import Dataset

from fairsparse.core import InputError


class Rows(Dataset[Tensor]):
    """Inputs of one `shape`, ``(channels, H, W)``; memory holds what was read last.

    `index`, int64 (N,), are the numbers under which they are stored.
    """

    def __init__(self, shape: tuple[int, ...], index: Tensor) -> None:
        self.shape, self.index = shape, index

    def rows(self, index: Tensor) -> Tensor:
        """Return the inputs at `index` (int64, shape (B,)), uint8 of shape (B, *shape)."""
        raise NotImplementedError

    def select(self, index: Tensor) -> Self:
        """Return the inputs at `index` as rows of their own."""
        part = copy.copy(self)
        part.index = self.index[index]
        return part

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> Tensor:
        return self.rows(torch.tensor([i]))[0]


class Stored(Rows):
    """Rows of a file that holds one uint8 array after another.

    They are read, not mapped: mapped pages would count as the process's memory.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], n: int) -> None:
        super().__init__(shape, torch.arange(n))
        self.path = path

    def rows(self, index: Tensor) -> Tensor:
        at = self.index[index].tolist()
        out = torch.empty((len(at), *self.shape), dtype=torch.uint8)
        size = math.prod(self.shape)
        view = memoryview(out.numpy().reshape(-1)).cast("B")  # type: ignore[arg-type]
        with self.path.open("rb", buffering=0) as file:
            for place, number in enumerate(at):
                file.seek(number * size)
                if file.readinto(view[place * size : (place + 1) * size]) != size:
                    raise InputError(
                        f"{self.path} ends before image {number}; remove it, so that it is made"
                        " again"
                    )
        return out
