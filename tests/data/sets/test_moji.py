"""Moji, from small files in its layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fairsparse.core import InputError
from fairsparse.data import DATASETS
from fairsparse.data.task import SPLITS, Task
from layouts import write_arrays

moji = DATASETS["moji"]
WORDS = ["good", "bad", "Day", "night", "wonderful", "terrible", "isn't", "it", "naïve", "7up"]


def sentence(i: int) -> str:
    return " ".join(WORDS[(i * k) % len(WORDS)] for k in range(1, 3 + i % 5))


def sizes(task: Task) -> list[int]:
    return [len(getattr(task, s)) for s in SPLITS]


def test_moji_encodings_in_one_folder(tmp_path: Path) -> None:
    write_arrays(tmp_path, 40)
    task = moji(tmp_path)
    assert sizes(task) == [104, 12, 12, 32]
    assert (task.class_names, task.group_names) == (("negative", "positive"), ("SAE", "AAE"))
    for name in SPLITS:
        split = getattr(task, name)
        assert torch.equal(split.x[:, 1], (2 * split.y + split.group).float())
    assert "not about who wrote it" in task.notes
    assert sizes(moji(tmp_path, limit=40))[0] < 40


def test_moji_encodings_in_the_published_splits(tmp_path: Path) -> None:
    for split, n in (("train", 30), ("dev", 10), ("test", 12)):
        write_arrays(tmp_path / split, n)
    task = moji(tmp_path)
    assert sizes(task) == [108, 12, 40, 48]


@pytest.mark.parametrize("end", ["", ".txt"])
def test_moji_as_text(tmp_path: Path, end: str) -> None:
    for k, name in enumerate(("neg_neg", "neg_pos", "pos_neg", "pos_pos")):
        lines = [f"{sentence(i)} kind{k}" for i in range(40)]
        (tmp_path / f"{name}{end}").write_text("\n".join(lines) + "\n")
    task = moji(tmp_path, max_length=16)
    assert sizes(task) == [104, 12, 12, 32]
    assert task.train.x.dtype == torch.int32
    # the last word before the end tells the file
    last = [int(x[x >= 0][-2]) for x in task.train.x]
    assert len(set(zip(last, (2 * task.train.y + task.train.group).tolist(), strict=True))) == 4


def test_moji_as_word_numbers(tmp_path: Path) -> None:
    (tmp_path / "vocab").write_text("\n".join(WORDS) + "\n")
    for name in ("neg_neg", "neg_pos", "pos_neg", "pos_pos"):
        (tmp_path / name).write_text("\n".join(f"{i % 10} {i % 7}" for i in range(40)) + "\n")
    plain = moji(tmp_path)
    for name in ("neg_neg", "neg_pos", "pos_neg", "pos_pos"):
        lines = [f"{WORDS[i % 10]} {WORDS[i % 7]}" for i in range(40)]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    assert torch.equal(moji(tmp_path).train.x, plain.train.x)
    (tmp_path / "pos_pos").write_text("3 99\n" * 40)
    with pytest.raises(InputError, match=r"has a number that .*vocab has no word for"):
        moji(tmp_path)


def test_moji_files_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected pos_pos, pos_neg, neg_pos and neg_neg in"):
        moji(tmp_path)
    write_arrays(tmp_path, 40)
    np.save(tmp_path / "pos_pos.npy", np.zeros((40, 6), np.float32))
    with pytest.raises(InputError, match=r"have \[5, 6\] numbers"):
        moji(tmp_path)
    np.save(tmp_path / "pos_pos.npy", np.zeros(40, np.float32))
    with pytest.raises(InputError, match=r"holds float32 of shape \(40,\)"):
        moji(tmp_path)
    np.save(tmp_path / "pos_pos.npy", np.array([{"a": 1}] * 40, dtype=object))
    with pytest.raises(InputError, match="no readable array"):
        moji(tmp_path)
