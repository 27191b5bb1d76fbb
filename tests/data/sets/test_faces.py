"""CelebA, LFW, FairFace and Tiny ImageNet, from small files in exactly their official layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fairsparse.core import InputError
from fairsparse.data import DATASETS
from fairsparse.data.task import SPLITS, Task
from layouts import WNIDS, save, write_celeba, write_fairface, write_lfw, write_tiny

celeba, lfw, fairface = (DATASETS[name] for name in ("celeba", "lfw", "fairface"))
tiny_imagenet = DATASETS["tiny-imagenet"]


def sizes(task: Task) -> list[int]:
    return [len(getattr(task, s)) for s in SPLITS]


def levels(split: Any) -> torch.Tensor:
    return split.raw(torch.arange(len(split))).float().mean((1, 2, 3))


@pytest.mark.parametrize("where", ["", "celeba"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_celeba(tmp_path: Path, where: str, end: str) -> None:
    write_celeba(tmp_path / where, end=end, nested=where == "")
    task = celeba(tmp_path)
    # the official validation split stays whole
    assert sizes(task) == [44, 4, 16, 16]
    assert task.class_names == ("not Smiling", "Smiling")
    assert task.group_names == ("not Male", "Male")
    assert task.input_shape == (3, 64, 64)
    for name in SPLITS:
        split = getattr(task, name)
        assert torch.equal(levels(split) > 100, split.y == 1)
    assert task.test.group.tolist() == [i // 2 % 2 for i in range(64, 80)]
    assert "not what people say of themselves" in task.notes


def test_celeba_any_attribute_is_target_or_group(tmp_path: Path) -> None:
    write_celeba(tmp_path)
    task = celeba(tmp_path, target="Male", groups=("Smiling", "Eyeglasses"), size=None)
    assert task.class_names == ("not Male", "Male")
    assert task.group_names[0] == "not Smiling x not Eyeglasses"
    assert task.input_shape == (3, 10, 8)
    with pytest.raises(InputError, match=r"no attribute 'Smilling' \(did you mean 'Smiling'\?\)"):
        celeba(tmp_path, target="Smilling")
    with pytest.raises(InputError, match="no attribute 'sex'"):
        celeba(tmp_path, groups=("sex",))


def test_celeba_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"list_attr_celeba\.txt, list_eval_partition\.txt"):
        celeba(tmp_path)
    write_celeba(tmp_path)
    (tmp_path / "img_align_celeba").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"unpack img_align_celeba\.zip there"):
        celeba(tmp_path)
    (tmp_path / "elsewhere").rename(tmp_path / "img_align_celeba")
    (tmp_path / "img_align_celeba" / "000007.jpg").unlink()
    with pytest.raises(InputError, match=r"image .*000007\.jpg does not exist"):
        celeba(tmp_path)
    assert (
        "1 of 80 images do not decode and were left out: 000007.jpg"
        in celeba(tmp_path, skip_bad_images=True).notes
    )


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("list_attr_celeba.txt", lambda t: t[:-2], "has 78 rows and announces 80"),
        ("list_attr_celeba.txt", lambda t: t[1:], "does not begin with a count"),
        (
            "list_attr_celeba.txt",
            lambda t: [*t[:5], t[5][:-4], *t[6:]],
            "line 6 .* 39 values for 40",
        ),
        (
            "list_attr_celeba.txt",
            lambda t: [*t[:9], t[9].replace("-1", " 0"), *t[10:]],
            "value '0'",
        ),
        (
            "list_eval_partition.txt",
            lambda t: t[:-3],
            r"no split for 3 images \(first: 000078\.jpg\)",
        ),
        ("list_eval_partition.txt", lambda t: [*t[:-1], t[-1][:-1] + "3"], "partition '3'"),
    ],
    ids=["rows", "count", "fields", "value", "unnamed", "partition"],
)
def test_celeba_files_that_are_damaged(
    tmp_path: Path, file: str, change: Any, message: str
) -> None:
    write_celeba(tmp_path, end="\n")
    path = tmp_path / file
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    with pytest.raises(InputError, match=message) as caught:
        celeba(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("where", ["", "lfw"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lfw_in_its_official_layout(tmp_path: Path, where: str, end: str) -> None:
    write_lfw(tmp_path / where, end=end)
    task = lfw(tmp_path, size=8)
    assert sum(sizes(task)) == 80
    assert task.class_names == ("not Smiling", "Smiling")
    assert task.group_names == ("female", "male")
    for name in SPLITS:
        split = getattr(task, name)
        assert torch.equal(levels(split) > 100, split.y == 1)
    # of each person two photographs, in one split
    people = [set(levels(getattr(task, name)).round().tolist()) for name in SPLITS]
    assert [2 * len(who) for who in people] == sizes(task)
    assert len(set.union(*people)) == 40
    assert "inferred" in task.notes


def test_lfw_files_that_are_missing_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected lfw_attributes\.txt and lfw-deepfunneled"):
        lfw(tmp_path)
    write_lfw(tmp_path)
    path = tmp_path / "lfw_attributes.txt"
    text = path.read_text()
    path.write_text(text.replace("#\tperson", "person"))
    with pytest.raises(InputError, match="no line of names"):
        lfw(tmp_path)
    path.write_text(text.replace("Person 3\t1\t", "Person 3\t1\t0.1\t"))
    with pytest.raises(InputError, match=r"line 9 .* 5 fields for 4 names"):
        lfw(tmp_path)
    path.write_text(text.replace("-3.0", "?", 1))
    with pytest.raises(InputError, match="score that is no number"):
        lfw(tmp_path)
    path.write_text(text)
    with pytest.raises(InputError, match="attributes: Male, Smiling, gender"):
        lfw(tmp_path, target="Young")


def test_lfw_as_a_table_with_inferred_probabilities(tmp_path: Path) -> None:
    rows = ["file,filename,person_id,gender,has_pred,pred_race,pred_age,test,Male,Smiling"]
    for i in range(96):
        person, smiling = i // 2, i // 4 % 2
        gender = (0, 1, -1)[person % 3] if i >= 90 else person % 2
        known = i != 5
        save(tmp_path / f"{i:05d}.jpg", 40 + 160 * smiling)
        values = f"0.5,{0.51 if smiling else 0.5}" if known else ","
        facts = f"{person},{gender},{known},white,30,{person % 5 == 0}"
        rows.append(f"{i:05d}.jpg,x_{i:04d}.jpg,{facts},{values}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    task = lfw(tmp_path, size=8)
    assert sum(sizes(task)) == 95
    assert len(task.test) == 20
    assert task.group_names == ("female", "male")
    assert sum(int((getattr(task, s).group < 0).sum()) for s in SPLITS) == 2
    for name in SPLITS:
        split = getattr(task, name)
        assert torch.equal(levels(split) > 100, split.y == 1)
    with pytest.raises(InputError, match="attributes: Male, Smiling, gender, race"):
        lfw(tmp_path, target="pred_age")


@pytest.mark.parametrize("where", ["", "fairface"])
def test_fairface(tmp_path: Path, where: str) -> None:
    write_fairface(tmp_path / where)
    task = fairface(tmp_path)
    assert sizes(task)[3] == 40
    assert sum(sizes(task)) == 160
    assert (task.class_names, task.group_names) == (("Female", "Male"), ("Black", "East Asian"))
    assert torch.equal(levels(task.test) < 100, task.test.y == 1)
    ages = fairface(tmp_path, target="age", groups=("race", "gender"), size=None)
    assert ages.class_names == ("3-9", "20-29", "more than 70")
    assert ages.n_groups == 4
    assert ages.input_shape == (3, 7, 7)


def test_fairface_names_what_is_missing(tmp_path: Path) -> None:
    write_fairface(tmp_path)
    (tmp_path / "fairface_label_val.csv").rename(tmp_path / "labels_val.csv")
    with pytest.raises(InputError, match=r"fairface_label_val\.csv"):
        fairface(tmp_path)
    (tmp_path / "fairface_label_val.csv").write_text("file,age,gender\nval/1.jpg,3-9,Male\n")
    with pytest.raises(InputError, match="no column 'race'"):
        fairface(tmp_path)


@pytest.mark.parametrize("where", ["", "tiny-imagenet-200"])
def test_tiny_imagenet(tmp_path: Path, where: str) -> None:
    write_tiny(tmp_path / where)
    task = tiny_imagenet(tmp_path)
    assert sizes(task) == [72, 9, 9, 12]
    assert task.class_names == ("Egyptian cat", "reel (n04067472)", "reel (n04540053)")
    assert task.input_shape == (3, 64, 64)
    for name in SPLITS:
        split = getattr(task, name)
        assert torch.equal(((levels(split) - 40) / 80).round().long(), split.y)


def test_tiny_imagenet_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"wnids\.txt, words\.txt, val/val_annotations\.txt"):
        tiny_imagenet(tmp_path)
    write_tiny(tmp_path)
    path = tmp_path / "val" / "val_annotations.txt"
    text = path.read_text()
    path.write_text(text.replace(WNIDS[1], "n99999999"))
    with pytest.raises(InputError, match="class 'n99999999', which"):
        tiny_imagenet(tmp_path)
    path.write_text(text)
    (tmp_path / "train" / WNIDS[0]).rename(tmp_path / "train" / "moved")
    with pytest.raises(InputError, match=r"no images in .*n02124075.* \(1 of 3 classes have none"):
        tiny_imagenet(tmp_path)
