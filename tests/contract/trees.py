"""Every data set as a small folder in its official layout, no two of its examples alike."""

from __future__ import annotations

import pickle
import re
import struct
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from fairsparse import Split
from layouts import save, write_arrays, write_celeba, write_fairface, write_lfw, write_tiny


def pixels(split: Split) -> list[Hashable]:
    """Images and encodings, each by its bytes."""
    x = split.raw(torch.arange(len(split)))
    assert isinstance(x, torch.Tensor)
    return [row.numpy().tobytes() for row in x]


def numbers(split: Split) -> list[Hashable]:
    """Rows of a table, each by its first number as it was in the file."""
    transform: Any = split.transform
    return [transform.value(0, float(row[0])) for row in split.raw(torch.arange(len(split)))]  # type: ignore[union-attr]


def words(split: Split) -> list[Hashable]:
    """Texts, as they are read back."""
    transform: Any = split.transform
    return [transform.decode(row) for row in split.raw(torch.arange(len(split)))]


@dataclass(frozen=True)
class Tree:
    """A data set on disk.

    Attributes
    ----------
    write : callable
        Writes into an empty folder and returns the options that the data set needs.
    n : int
        Examples that are divided.
    who : callable
        Split -> what tells its examples apart.
    one : str
        A file of which `alter` changes one example; empty where a set comes without files.
    official : mapping
        Sizes of the splits that come with the set.
    test : float
        Share for test, where there is no option for it.
    slack : int
        Examples by which sizes may miss the shares, besides one for each class of each group.
    """

    write: Callable[[Path], dict[str, Any]]
    n: int
    who: Callable[[Split], list[Hashable]]
    one: str
    official: Mapping[str, int] = field(default_factory=dict)
    test: float = 0.2
    slack: int = 0


def noise(path: Path, seed: int) -> None:
    """Make an image file one of its own, in its size and format."""
    with Image.open(path) as image:
        size, kind = image.size, image.format
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(values).save(path, kind)


def alter(path: Path) -> None:
    """Change the inputs of one example in a file."""
    match path.suffix.lower():
        case ".jpg" | ".jpeg" | ".png":
            noise(path, 10**6)
        case ".npy":
            values = np.load(path)
            values[-1] += 100
            np.save(path, values)
        case ".csv" | ".data":
            *rest, last = path.read_text().rstrip("\n").split("\n")
            path.write_text("\n".join([*rest, re.sub(r"\b1\d{3}\b", "5000", last, count=1), ""]))
        case _ if path.name == "train":
            batch = pickle.loads(path.read_bytes())
            batch["data"][-1] ^= 255
            path.write_bytes(pickle.dumps(batch))
        case _:
            data = path.read_bytes()
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 255]))


def faces(write: Callable[[Path], Any], **options: Any) -> Callable[[Path], dict[str, Any]]:
    """A folder of images by a writer of `layouts`, whose images are then told apart."""

    def write_apart(folder: Path) -> dict[str, Any]:
        write(folder)
        for i, path in enumerate(sorted(folder.rglob("*.[jJ][pP]*"))):
            noise(path, i)
        return {"path": folder, **options}

    return write_apart


def write_utkface(folder: Path) -> None:
    for i in range(100):
        save(folder / f"{20 + i % 60}_{i % 2}_{i // 2 % 2}_{20170000 + i}.jpg", 0)


def write_folders(folder: Path) -> None:
    for i in range(90):
        save(folder / "abc"[i % 3] / f"{i}.jpg", 0)


def write_listed(folder: Path) -> dict[str, Any]:
    rows = [f"{i}.jpg,{'xy'[i % 2]},{'' if i % 9 == 8 else 'ab'[i // 2 % 2]}" for i in range(120)]
    for i in range(120):
        save(folder / f"{i}.jpg", 0)
        noise(folder / f"{i}.jpg", i)
    (folder / "list.csv").write_text("\n".join(["file,label,where", *rows]) + "\n")
    return {"path": folder / "list.csv", "groups": ("where",)}


def rows_of(
    file: str, header: str, row: Callable[[int], str], n: int = 120, **options: Any
) -> Callable[[Path], dict[str, Any]]:
    """A table; `options` come besides its folder, or besides the file where they name a target."""

    def write(folder: Path) -> dict[str, Any]:
        folder.mkdir(parents=True, exist_ok=True)
        lines = [header] * bool(header) + [row(i) for i in range(n)]
        (folder / file).write_text("\n".join(lines) + "\n")
        return {"path": folder / file if options else folder, **options}

    return write


def pick(i: int, every: int, values: str) -> str:
    """One of several words, each for so many rows before the next."""
    options = values.split("|")
    return options[i // every % len(options)]


def adult_row(i: int) -> str:
    who = f"{pick(i, 2, 'White|Black')}, {pick(i, 1, 'Male|Female')}"
    income = pick(i, 4, ">50K|<=50K")
    return (
        f"{1000 + i}, Private, 7, HS-grad, 9, Divorced, Sales, Unmarried, {who}, 0, 0, 40,"
        f" United-States, {income}"
    )


def write_adult(folder: Path) -> dict[str, Any]:
    rows_of("adult.data", "", adult_row, 96)(folder)
    test = [f"{adult_row(i)}." for i in range(96, 128)]
    (folder / "adult.test").write_text("\n".join(["|1x3 Cross validator", *test]) + "\n")
    return {"path": folder}


def compas_row(i: int) -> str:
    race = pick(i, 1, "African-American|Caucasian|Hispanic|Other")
    return (
        f"{i},2013-08-14,{pick(i, 4, 'Male|Female')},{1000 + i},25 - 45,{race},0,{i % 10},0,0,"
        f"{i % 7},-1,F,0,{i % 10},Low,{i % 7},{i // 8 % 2}"
    )


COMPAS = (
    "id,compas_screening_date,sex,age,age_cat,race,juv_fel_count,decile_score,juv_misd_count,"
    "juv_other_count,priors_count,days_b_screening_arrest,c_charge_degree,is_recid,decile_score,"
    "score_text,priors_count,two_year_recid"
)
LAW = "decile1b,decile3,lsat,ugpa,zfygpa,zgpa,fulltime,fam_inc,male,tier,race,pass_bar"
DUTCH = (
    "sex,age,household_position,household_size,prev_residence_place,citizenship,country_birth,"
    "edu_level,economic_status,cur_eco_activity,marital_status,occupation"
)
CREDIT = "ID,LIMIT_BAL,SEX,EDUCATION,MARRIAGE,AGE,default payment next month"


def write_cifar(folder: Path) -> dict[str, Any]:
    """Four classes of two superclasses."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name, n in (("train", 80), ("test", 12)):
        fine = [i % 4 for i in range(n)]
        data = rng.integers(0, 256, (n, 3072), dtype=np.uint8)
        batch = {"data": data, "fine_labels": fine, "coarse_labels": [k // 2 for k in fine]}
        (folder / name).write_bytes(pickle.dumps(batch))
    names = {"fine_label_names": list("abcd"), "coarse_label_names": ["ab", "cd"]}
    (folder / "meta").write_bytes(pickle.dumps(names))
    return {"path": folder}


def write_fashion(folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name, n in (("train", 100), ("t10k", 20)):
        images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(
            struct.pack(">iiii", 2051, n, 28, 28) + images.tobytes()
        )
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(
            struct.pack(">ii", 2049, n) + bytes(i % 10 for i in range(n))
        )
    return {"path": folder}


def write_moji(folder: Path) -> dict[str, Any]:
    write_arrays(folder, 40)
    return {"path": folder}


# A data set without an entry fails every test of test_data_sets.py.
TREES = {
    "adult": Tree(write_adult, 96, numbers, "adult.data", {"test": 32}),
    "celeba": Tree(
        faces(write_celeba, size=8),
        48,
        pixels,
        "img_align_celeba/000001.jpg",
        {"val": 16, "test": 16},
    ),
    "cifar-100": Tree(write_cifar, 80, pixels, "train", {"test": 12}),
    "compas": Tree(
        rows_of("compas-scores-two-years.csv", COMPAS, compas_row, 160),
        160,
        numbers,
        "compas-scores-two-years.csv",
    ),
    "credit-default": Tree(
        rows_of(
            "credit-card-clients.csv",
            CREDIT,
            lambda i: f"{i},{1000 + i},{1 + i % 2},{1 + i % 3},{1 + i % 2},30,{i // 2 % 2}",
        ),
        120,
        numbers,
        "credit-card-clients.csv",
    ),
    "digits": Tree(lambda folder: {}, 1797, pixels, "", test=1 / 3),
    "dutch-census": Tree(
        rows_of(
            "dutch.csv",
            DUTCH,
            lambda i: f"{pick(i, 1, 'male|female')},{1000 + i},1,2,1,1,1,3,1,4,1,{i // 2 % 2}",
        ),
        120,
        numbers,
        "dutch.csv",
    ),
    "fairface": Tree(faces(write_fairface, size=8), 120, pixels, "train/1.jpg", {"test": 40}),
    "fashion-mnist": Tree(write_fashion, 100, pixels, "train-images-idx3-ubyte", {"test": 20}),
    "german-credit": Tree(
        rows_of(
            "german_data_credit.csv",
            "duration,purpose,sex,foreign-worker,class-label",
            lambda i: f"{1000 + i},car,{pick(i, 1, 'male|female')},yes,{i // 2 % 2}",
        ),
        120,
        numbers,
        "german_data_credit.csv",
    ),
    "image-folder": Tree(faces(write_folders), 90, pixels, "a/0.jpg"),
    "image-table": Tree(write_listed, 120, pixels, "0.jpg"),
    "law-school": Tree(
        rows_of(
            "law_school_clean.csv",
            LAW,
            lambda i: (
                f"{1000 + i}.0,1.0,30.5,3.1,-0.2,0.4,1.0,4.0,{i % 2}.0,3.0,"
                f"{pick(i, 2, 'White|Non-White')},{i // 4 % 2}.0"
            ),
        ),
        120,
        numbers,
        "law_school_clean.csv",
    ),
    # a person has two photographs, and all of them are in one split
    "lfw": Tree(
        faces(write_lfw, size=8), 80, pixels, "lfw-deepfunneled/Person_0/Person_0_0001.jpg", slack=4
    ),
    "moji": Tree(write_moji, 160, pixels, "neg_neg.npy"),
    "table": Tree(
        rows_of(
            "people.csv",
            "age,job,sex,paid",
            lambda i: (
                f"{1000 + i},{pick(i, 3, 'cook|nurse')},{pick(i, 2, 'f|m||f|m')},{'ny'[i % 2]}"
            ),
            target="paid",
            groups=("sex",),
        ),
        120,
        numbers,
        "people.csv",
    ),
    "text": Tree(
        rows_of(
            "texts.csv",
            "text,label,place",
            lambda i: f"day {1000 + i} {pick(i, 3, 'good|bad')},{i % 2},{pick(i, 2, 'a|b|')}",
            groups=("place",),
        ),
        120,
        words,
        "texts.csv",
    ),
    "tiny-imagenet": Tree(
        faces(write_tiny), 90, pixels, "train/n02124075/images/n02124075_0.JPEG", {"test": 12}
    ),
    "utkface": Tree(faces(write_utkface), 100, pixels, "20_0_0_20170000.jpg"),
}
