from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fairsparse.data import DATASETS
from fairsparse.types import InputError

utkface, image_table = DATASETS["utkface"], DATASETS["image-table"]
image_folder = DATASETS["image-folder"]


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
