from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fairsparse.core import InputError
from fairsparse.data import DATASETS

image_table, image_folder = DATASETS["image-table"], DATASETS["image-folder"]


def save(path, color, size=(6, 4), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path)
    return path


def write_table(folder, n=40, name="people.csv"):
    """Images of one colour each, red channel = row number."""
    rows = []
    for i in range(n):
        file = save(folder / "pictures" / f"{i}.png", (i, 0, 255 - i))
        rows.append((f"pictures/{file.name}", "cat" if i % 2 else "dog", "ab"[i // 2 % 2], i // 4))
    frame = pd.DataFrame(rows, columns=["file", "label", "where", "owner"])
    write = frame.to_parquet if name.endswith("parquet") else frame.to_csv
    write(folder / name, index=False)
    return frame


@pytest.mark.parametrize("name", ["people.csv", "people.csv.gz", "people.parquet"])
def test_image_table(tmp_path, name):
    write_table(tmp_path, name=name)
    task = image_table(tmp_path / name, groups=("where",))
    assert [len(s) for s in (task.train, task.cal, task.val, task.test)] == [24, 4, 4, 8]
    assert (task.class_names, task.group_names) == (("cat", "dog"), ("a", "b"))
    for split in (task.train, task.cal, task.val, task.test):
        row = split.x[:, 0, 0, 0].long()
        assert torch.equal(split.x[:, 2, 3, 5].long(), 255 - row)
        assert torch.equal(split.y, 1 - row % 2)
        assert torch.equal(split.group, row // 2 % 2)


def test_image_table_grayscale_root_identity_and_columns(tmp_path):
    frame = write_table(tmp_path / "data")
    frame["file"] = frame["file"].str.removeprefix("pictures/")
    frame = frame.rename(columns={"file": "picture", "label": "kind"})
    frame.to_csv(tmp_path / "t.csv", index=False)
    task = image_table(
        tmp_path / "t.csv",
        image="picture",
        label="kind",
        identity="owner",
        root=tmp_path / "data" / "pictures",
    )
    owners = [
        set((s.x[:, 0, 0, 0] // 4).tolist()) for s in (task.train, task.cal, task.val, task.test)
    ]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 10
    gray = image_table(
        tmp_path / "t.csv",
        image="picture",
        label="kind",
        root=tmp_path / "data" / "pictures",
        grayscale=True,
        size=7,
    )
    assert gray.input_shape == (1, 7, 7)


def test_image_table_bad_images(tmp_path):
    write_table(tmp_path)
    path, victim = tmp_path / "people.csv", tmp_path / "pictures" / "17.png"
    victim.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"17\.png cannot be decoded"):
        image_table(path)
    save(victim, 1000, mode="I;16")
    with pytest.raises(InputError, match=r"17\.png has pixels deeper than 8 bits \(mode I;16\)"):
        image_table(path)
    victim.unlink()
    with pytest.raises(InputError, match=r"17\.png does not exist"):
        image_table(path)
    save(victim, (0, 0, 0), size=(6, 5))
    with pytest.raises(InputError, match=r"png is 6x4, .*17\.png is 6x5; set size"):
        image_table(path)
    assert image_table(path, size=4).input_shape == (3, 4, 4)


def test_a_truncated_image_is_refused(tmp_path):
    write_table(tmp_path)
    victim = tmp_path / "pictures" / "3.png"
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(victim)
    victim.write_bytes(victim.read_bytes()[:3000])
    with pytest.raises(InputError, match=r"3\.png cannot be decoded"):
        image_table(tmp_path / "people.csv", size=4)


def test_image_table_row_without_file(tmp_path):
    frame = write_table(tmp_path)
    frame.loc[4, "file"] = None
    frame.to_csv(tmp_path / "people.csv", index=False)
    with pytest.raises(InputError, match="column 'file' names no file in row 5"):
        image_table(tmp_path / "people.csv")


def test_image_table_unknown_column(tmp_path):
    write_table(tmp_path)
    with pytest.raises(InputError, match=r"no column 'wher' \(did you mean 'where'\?\)"):
        image_table(tmp_path / "people.csv", groups=("wher",))


def write_folders(root, split="", n=20):
    for k, name in enumerate(("cat", "dog", "owl")):
        for i in range(n):
            folder = root / split / name / ("more" if i % 2 else "")
            save(folder / f"{i}.{'JPG' if i % 3 else 'png'}", (80 * k, 0, 0))
        (root / split / name / "readme.txt").write_text("no image")


def test_image_folder(tmp_path):
    write_folders(tmp_path)
    task = image_folder(tmp_path)
    assert [len(s) for s in (task.train, task.cal, task.val, task.test)] == [36, 6, 6, 12]
    assert task.class_names == ("cat", "dog", "owl")
    assert task.group_names == ()
    for split in (task.train, task.cal, task.val, task.test):
        assert torch.equal((split.x[:, 0, 0, 0].float() / 80).round().long(), split.y)


def test_image_folder_with_splits(tmp_path):
    for split, n in (("train", 20), ("test", 5), ("val", 4)):
        write_folders(tmp_path, split, n)
    task = image_folder(tmp_path, size=3, grayscale=True)
    assert [len(s) for s in (task.train, task.cal, task.val, task.test)] == [54, 6, 12, 15]
    assert task.input_shape == (1, 3, 3)


def test_image_folder_without_images(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        image_folder(tmp_path / "absent")
    (tmp_path / "cat").mkdir()
    with pytest.raises(InputError, match=r"no images in folders below .*\.jpg.*one folder a class"):
        image_folder(tmp_path)
    save(tmp_path / "cat" / "1.png", (0, 0, 0))
    with pytest.raises(InputError, match="needs at least 2"):
        image_folder(tmp_path)


def test_images_in_memory_are_held_once(tmp_path):
    write_folders(tmp_path)
    task = image_folder(tmp_path)
    places = {s.x.untyped_storage().data_ptr() for s in (task.train, task.cal, task.val, task.test)}
    assert len(places) == 1
