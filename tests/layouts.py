"""Small files in exactly the layouts of sets that cannot be had here, quirks included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

ATTRIBUTES = [f"Attribute_{i}" for i in range(37)] + ["Eyeglasses", "Male", "Smiling"]
WNIDS = ["n02124075", "n04067472", "n04540053"]


def save(path: Path, level: int, size: tuple[int, int] = (8, 10)) -> None:
    """A grey JPEG whose level can be told after compression."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level,) * 3).save(path, "JPEG", quality=95)


def celeba_values(i: int) -> list[int]:
    smiling, male, glasses = i % 2, i // 2 % 2, i // 4 % 2
    return [-1] * 37 + [2 * v - 1 for v in (glasses, male, smiling)]


def write_celeba(folder: Path, n: int = 80, end: str = "\r\n", nested: bool = False) -> Path:
    """CelebA: 40 attributes; two spaces before a 1, one before a -1, a blank at each line's end."""
    images = folder / "img_align_celeba" / ("img_align_celeba" if nested else "")
    rows, splits = [], []
    for i in range(n):
        name = f"{i + 1:06d}.jpg"
        values = celeba_values(i)
        save(images / name, 40 + 160 * (values[-1] > 0))
        rows.append(f"{name} " + " ".join(f"{v:2d}" for v in values) + " ")
        splits.append(f"{name} {0 if i < 48 else 1 if i < 64 else 2}")
    attributes = [str(n), " ".join(ATTRIBUTES) + " ", *rows]
    (folder / "list_attr_celeba.txt").write_bytes((end.join(attributes) + end).encode())
    (folder / "list_eval_partition.txt").write_bytes((end.join(splits) + end).encode())
    return folder


def write_lfw(folder: Path, people: int = 40, end: str = "\n") -> Path:
    """LFW: a comment, names that begin with a '#', people with spaces, scores."""
    lines = [
        "#  lfw_attributes.txt: attributes of Kumar et al.",
        "#\tperson\timagenum\tMale\tSmiling",
    ]
    for p in range(people):
        for k in range(1, 4):
            male, smiling = p % 2, p // 2 % 2
            name = f"Person_{p}"
            if k < 3:  # as in the official file, some photographs have no row
                lines.append(f"Person {p}\t{k}\t{male - 0.5:.6f}\t{1.25e-2 if smiling else -3.0}")
            file = folder / "lfw-deepfunneled" / name / f"{name}_{k:04d}.jpg"
            save(file, 40 + 160 * smiling + p)  # the level tells who it is
    (folder / "lfw_attributes.txt").write_bytes((end.join(lines) + end).encode())
    return folder


def write_fairface(folder: Path) -> Path:
    """FairFace: two tables whose column file leads to the images."""
    for split, n in (("train", 120), ("val", 40)):
        rows = ["file,age,gender,race,service_test"]
        for i in range(n):
            gender, race = ("Male", "Female")[i % 2], ("East Asian", "Black")[i // 2 % 2]
            age = ("3-9", "20-29", "more than 70")[i // 4 % 3]
            rows.append(f"{split}/{i + 1}.jpg,{age},{gender},{race},{i % 3 == 0}")
            save(folder / split / f"{i + 1}.jpg", 40 + 160 * (i % 2), (7, 7))
        (folder / f"fairface_label_{split}.csv").write_text("\r\n".join(rows) + "\r\n")
    return folder


def write_tiny(folder: Path, n: int = 30) -> Path:
    """Tiny ImageNet: a folder a class, boxes beside the images, annotations of validation."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "wnids.txt").write_text("\n".join(WNIDS))
    words = [
        "n00001740\tentity",
        "n02124075\tEgyptian cat",
        "n04067472\treel",
        "n04540053\treel, drum",
    ]
    (folder / "words.txt").write_text("\n".join(words) + "\n")
    for k, wnid in enumerate(WNIDS):
        for i in range(n):
            save(folder / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", 40 + 80 * k, (64, 64))
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t62\t63\n")
    rows = []
    for i in range(12):
        save(folder / "val" / "images" / f"val_{i}.JPEG", 40 + 80 * (i % 3), (64, 64))
        rows.append(f"val_{i}.JPEG\t{WNIDS[i % 3]}\t0\t32\t44\t62")
    (folder / "val" / "val_annotations.txt").write_text("\n".join(rows) + "\n")
    save(folder / "test" / "images" / "test_0.JPEG", 0, (64, 64))
    return folder


def write_arrays(folder: Path, n: int, width: int = 5) -> None:
    """Moji's encodings: a file for each sentiment and dialect."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(("neg_neg", "neg_pos", "pos_neg", "pos_pos")):
        values = np.full((n, width), k, dtype=np.float32)
        values[:, 0] = np.arange(n)
        np.save(folder / f"{name}.npy", values)
