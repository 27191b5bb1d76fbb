"""Images that stay on disk: the same examples, in little memory, whatever interrupts."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image

from fairsparse.core import InputError
from fairsparse.data import DATASETS
from fairsparse.data.files.images import Decoder, Streamed, stored_images, undecodable
from fairsparse.data.files.rows import Rows, Stored
from fairsparse.data.task import SPLITS, Task
from fairsparse.models import MODELS
from fairsparse.training import Loop, state_of
from helpers import equal, trainer_for

image_table = DATASETS["image-table"]
DECODE = Decoder("x")


def write(folder: Path, n: int = 60) -> list[Path]:
    """Images of one colour, red = number; a table beside them."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    files = [folder / "pictures" / f"{i:03d}.png" for i in range(n)]
    for i, file in enumerate(files):
        Image.new("RGB", (6, 4), (i, 0, 255 - i)).save(file)
    table = {
        "file": [f"pictures/{f.name}" for f in files],
        "label": ["cat" if i % 2 else "dog" for i in range(n)],
        "where": ["ab"[i // 2 % 2] for i in range(n)],
    }
    pd.DataFrame(table).to_csv(folder / "table.csv", index=False)
    return files


def build(folder: Path, **options: Any) -> Task:
    return image_table(folder / "table.csv", groups=("where",), **options)


def every(split: Any) -> Any:
    return split.raw(torch.arange(len(split)))


@pytest.mark.parametrize("size", [None, 5])
@pytest.mark.parametrize("kind", [Stored, Streamed])
def test_examples_are_those_held_in_memory(tmp_path: Path, kind: type[Rows], size: int) -> None:
    write(tmp_path)
    options: dict[str, Any] = {"stream": True}
    if kind is Stored:
        options = {"cache": tmp_path / "cache"}
    plain, other = build(tmp_path, size=size), build(tmp_path, size=size, **options)
    assert other.input_shape == plain.input_shape
    for name in SPLITS:
        a, b = getattr(plain, name), getattr(other, name)
        assert isinstance(b.x, kind)
        assert torch.equal(a.y, b.y)
        assert torch.equal(every(a), every(b))
        some = torch.tensor([3, 0, 3])
        assert torch.equal(a.batch(some).x, b.batch(some).x)
        assert torch.equal(
            a.subset(some).raw(torch.tensor([2])), b.subset(some).raw(torch.tensor([2]))
        )
        assert torch.equal(b.x[1], a.x[1])
    for a, b in zip(
        vars(plain.train.transform).values(), vars(other.train.transform).values(), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_files_are_decoded_once_and_again_when_one_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, seen = write(tmp_path), []
    decode = Decoder.__call__
    monkeypatch.setattr(Decoder, "__call__", lambda d, path: seen.append(path) or decode(d, path))
    cache = tmp_path / "cache"
    build(tmp_path, cache=cache)
    assert sorted(seen) == files
    (made,) = cache.iterdir()
    assert made.stat().st_size == 60 * 4 * 6 * 3
    # other shares, seeds and limits use the same file; another size does not
    seen.clear()
    build(tmp_path, cache=cache, seed=3, val=0.2, limit=40)
    assert seen == []
    build(tmp_path, cache=cache, size=3)
    assert len(seen) == 60
    seen.clear()
    Image.new("RGB", (6, 4), (200, 200, 200)).save(files[7])
    task = build(tmp_path, cache=cache)
    assert len(seen) == 60
    assert sum(int((every(getattr(task, s))[:, 1] == 200).all((1, 2)).sum()) for s in SPLITS) == 1


@pytest.mark.parametrize("cut", [0, 1, 37])
def test_interrupted_decoding_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    files, cache = write(tmp_path), tmp_path / "cache"
    whole = stored_images(DECODE, files, cache)
    content = whole.path.read_bytes()
    row = 4 * 6 * 3
    whole.path.with_suffix(".part").write_bytes(content[: 20 * row + cut])
    whole.path.unlink()
    seen: list[Path] = []
    decode = Decoder.__call__
    monkeypatch.setattr(Decoder, "__call__", lambda d, path: seen.append(path) or decode(d, path))
    again = stored_images(DECODE, files, cache)
    assert seen == files[20:]
    assert again.path.read_bytes() == content
    assert [p.suffix for p in cache.iterdir()] == [".rows"]


def test_what_stops_decoding_leaves_no_finished_file(tmp_path: Path) -> None:
    files, cache = write(tmp_path), tmp_path / "cache"
    files[50].write_bytes(files[50].read_bytes()[:48])
    with pytest.raises(InputError, match=r"image .*050\.png cannot be decoded"):
        stored_images(DECODE, files, cache)
    assert [p.suffix for p in cache.iterdir()] == [".part"]
    Image.new("RGB", (5, 4)).save(files[50])
    with pytest.raises(InputError, match=r"images differ in size: .*000\.png is 6x4"):
        stored_images(DECODE, files, cache)
    with pytest.raises(InputError, match=r"image .*gone\.png does not exist"):
        stored_images(DECODE, [*files[:3], tmp_path / "gone.png"], cache)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    files = write(tmp_path)
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match=r"cannot be written .*GiB: free space, or set cache"):
        stored_images(DECODE, files, tmp_path / "taken")


def test_a_file_that_was_cut_off_is_told(tmp_path: Path) -> None:
    whole = stored_images(DECODE, write(tmp_path), tmp_path / "cache")
    os.truncate(whole.path, 59 * 72)
    assert len(whole.rows(torch.arange(59))) == 59
    with pytest.raises(InputError, match="ends before image 59; remove it"):
        whole.rows(torch.tensor([0, 59]))


def test_bad_images_stop_or_are_left_out_and_named(tmp_path: Path) -> None:
    files = write(tmp_path)
    for i in (4, 9, 10, 30, 31, 40):
        files[i].write_bytes(b"no image")
    files[12].unlink()
    assert undecodable(DECODE, files) == [4, 9, 10, 12, 30, 31, 40]
    with pytest.raises(InputError, match=r"cannot be decoded|does not exist"):
        build(tmp_path)
    for options in ({}, {"stream": True}, {"cache": tmp_path / "cache"}):
        task = build(tmp_path, skip_bad_images=True, **options)
        assert sum(len(getattr(task, s)) for s in SPLITS) == 53
        assert "7 of 60 images do not decode and were left out: 004.png, 009.png" in task.notes
        for name in SPLITS:  # what is left keeps its label
            split = getattr(task, name)
            assert torch.equal(every(split)[:, 0, 0, 0] % 2, 1 - split.y)
    for file in files:
        file.write_bytes(b"")
    with pytest.raises(InputError, match="none of the 60 images decodes"):
        build(tmp_path, skip_bad_images=True)


def test_what_is_left_keeps_its_split_and_its_identity(tmp_path: Path) -> None:
    files = write(tmp_path)
    frame = pd.read_csv(tmp_path / "table.csv")
    frame["split"] = ["train", "test", "val", "train", "train"] * 12
    frame["who"] = [f"{split} {i // 4}" for i, split in enumerate(frame["split"])]
    frame.to_csv(tmp_path / "table.csv", index=False)
    for i in (0, 6):
        files[i].write_bytes(b"no image")
    columns = {"split_column": "split", "identity": "who"}
    task = build(tmp_path, skip_bad_images=True, cal=0.3, **columns)
    numbers = [set(every(getattr(task, name))[:, 0, 0, 0].tolist()) for name in SPLITS]
    assert numbers[3] == {i for i in range(60) if i % 5 == 1} - {6}
    train, cal = ({frame["who"][i] for i in some} for some in numbers[:2])
    assert train & cal == set()


def test_cache_and_stream_exclude_each_other(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(InputError, match="set one of them"):
        build(tmp_path, cache=tmp_path, stream=True)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("options", [{"stream": True}, {"cache": "cache"}], ids=str)
def test_training_and_predictions_are_those_of_images_in_memory(
    tmp_path: Path, workers: int, options: dict[str, Any]
) -> None:
    write(tmp_path)
    if "cache" in options:
        options = {"cache": tmp_path / options["cache"]}
    ends = []
    for task in (build(tmp_path, size=8), build(tmp_path, size=8, **options)):
        data = task.training
        given = workers if isinstance(data.train.x, Rows) else 0
        trainer = trainer_for(data, epochs=2, batch_size=8, augment=("flip",), workers=given)
        torch.manual_seed(0)
        model = MODELS["small-cnn"](task.input_shape, 2, width=4)
        loop = Loop(trainer, model, data.train, stage="x")
        loop.advance(3)  # in the middle of an epoch
        for _ in loop:
            pass
        predictions = trainer.predict(model, task.test, batch_size=5)
        ends.append((state_of(model), trainer.history, predictions.logits))
    assert equal(ends[0][0], ends[1][0])
    assert ends[0][1] == ends[1][1]
    assert torch.equal(ends[0][2], ends[1][2])


def test_rows_travel_to_other_processes(tmp_path: Path) -> None:
    whole = stored_images(DECODE, write(tmp_path), tmp_path / "cache")
    copy = pickle.loads(pickle.dumps(whole.select(torch.tensor([5, 2]))))
    assert torch.equal(copy.rows(torch.tensor([1]))[0], whole[2])
