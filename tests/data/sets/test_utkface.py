from __future__ import annotations

import re

import pandas as pd
import pytest
import torch
from PIL import Image

from fairsparse.core import InputError
from fairsparse.data import DATASETS

utkface = DATASETS["utkface"]


def save(path, color, size=(6, 4), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path)
    return path


def write_faces(folder, per_cell=6, ending=".jpg.chip.jpg"):
    """Faces of two races and both genders, aged 1 to 100; brightness says the gender."""
    names = []
    for race in (0, 1):
        for gender in (0, 1):
            for i in range(per_cell):
                age = (1, 20, 35, 50, 100)[i % 5]
                names.append(f"{age}_{gender}_{race}_2017010917{i:03d}{race}{gender}{ending}")
                save(folder / names[-1], (200 * gender,) * 3)
    return names


@pytest.mark.parametrize("where", ["", "UTKFace"])
@pytest.mark.parametrize("ending", [".jpg", ".jpg.chip.jpg"])
def test_utkface_reads_official_names(tmp_path, where, ending):
    names = write_faces(tmp_path / where, ending=ending)
    task = utkface(tmp_path)
    splits = [task.train, task.cal, task.val, task.test]
    assert sum(map(len, splits)) == len(names)
    assert task.class_names == ("male", "female")
    assert task.group_names == ("White", "Black")
    assert task.input_shape == (3, 4, 6)
    for split in splits:
        assert torch.equal(split.x[:, 0, 0, 0] > 100, split.y == 1)
    assert "not self-reported" in task.notes
    assert "skipped" not in task.notes


def test_utkface_intersections_and_ages(tmp_path):
    write_faces(tmp_path, per_cell=25)
    task = utkface(tmp_path, target="age", groups=("race", "gender"))
    assert task.class_names == ("0-17", "18-29", "30-44", "45-59", "60+")
    assert task.attributes == ("race", "gender")
    assert task.group_names == (
        "White x male",
        "White x female",
        "Black x male",
        "Black x female",
    )
    female = torch.isin(task.train.group, torch.tensor([1, 3]))
    assert torch.equal(task.train.x[:, 0, 0, 0] > 100, female)


@pytest.mark.parametrize(
    ("age", "band"),
    [(0, 0), (17, 0), (18, 1), (29, 1), (30, 2), (44, 2), (45, 3), (59, 3), (60, 4), (116, 4)],
)
def test_utkface_age_bands(tmp_path, age, band):
    middles = (10, 20, 35, 50, 80)
    names = [f"{a}_0_0_{split}{i}.jpg" for i, a in enumerate(middles) for split in range(1, 5)]
    names.append(f"{age}_0_0_555.jpg")
    rows = [(n, ("train", "cal", "val", "test")[i % 4]) for i, n in enumerate(names[:-1])]
    for name in names:
        save(tmp_path / name, (0, 0, 0))
    frame = pd.DataFrame([*rows, (names[-1], "train")], columns=["file", "split"])
    frame.to_csv(tmp_path / "split.csv", index=False)
    counts = torch.bincount(utkface(tmp_path, target="age").train.y)
    assert counts.tolist() == [1 + (k == band) for k in range(5)]


def test_utkface_skips_and_counts_malformed_names(tmp_path):
    names = write_faces(tmp_path)
    for bad in (
        "39_1_20170116174525125.jpg.chip.jpg",
        "24_0_1_20170116220224657 .jpg",
        "5_2_0_1.jpg",
    ):
        save(tmp_path / bad, (0, 0, 0))
    task = utkface(tmp_path)
    assert task.notes.endswith("3 files with malformed names were skipped.")
    (tmp_path / names[0]).write_bytes(b"no image")
    assert re.search(
        r"3 files .* skipped\. 1 of 24 images do not decode and were left out: .*\.jpg\.$",
        utkface(tmp_path, skip_bad_images=True).notes,
    )
    assert sum(len(s) for s in (task.train, task.cal, task.val, task.test)) == len(names)


def test_utkface_takes_the_splits_beside_the_images(tmp_path):
    names = write_faces(tmp_path, per_cell=20)
    test = [n for i, n in enumerate(sorted(names)) if i % 2]
    rows = [(n, "test" if n in test else "train") for n in names]
    pd.DataFrame(rows, columns=["file", "split"]).to_csv(tmp_path / "split.csv", index=False)
    task = utkface(tmp_path)
    assert len(task.test) == 40
    assert task.test.y.tolist() == [int(n.split("_")[1]) for n in test]
    pd.DataFrame(rows[1:], columns=["file", "split"]).to_csv(tmp_path / "split.csv", index=False)
    with pytest.raises(InputError, match=f"gives no split for 1 images.*{names[0]}"):
        utkface(tmp_path)


def test_utkface_limit_keeps_every_cell_and_size_resizes(tmp_path):
    write_faces(tmp_path, per_cell=20)
    task = utkface(tmp_path, limit=32, size=5)
    assert [len(s) for s in (task.train, task.cal, task.val, task.test)] == [24, 4, 4, 16]
    assert task.input_shape == (3, 5, 5)


def test_utkface_missing_or_misnamed(tmp_path):
    with pytest.raises(InputError, match=r"expected images named \[age\]_\[gender\]_\[race\]"):
        utkface(tmp_path)
    save(tmp_path / "portrait.jpg", (0, 0, 0))
    with pytest.raises(InputError, match=r"none of the 1 images .*portrait\.jpg"):
        utkface(tmp_path)
