from __future__ import annotations

import gzip
import pickle
import struct

import numpy as np
import pytest
import torch

from fairsparse.core import InputError
from fairsparse.data import DATASETS

IDX = {
    "train-images-idx3-ubyte": (60, 3),
    "train-labels-idx1-ubyte": (60, 1),
    "t10k-images-idx3-ubyte": (20, 3),
    "t10k-labels-idx1-ubyte": (20, 1),
}


def idx_bytes(n, dimensions):
    if dimensions == 1:
        return struct.pack(">ii", 2049, n) + bytes(i % 10 for i in range(n))
    # Every pixel of image i is i, so an image says which one it is.
    images = np.repeat(np.arange(n, dtype=np.uint8), 28 * 28)
    return struct.pack(">iiii", 2051, n, 28, 28) + images.tobytes()


def write_fashion(folder, compress=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, what in IDX.items():
        data = idx_bytes(*what)
        if compress:
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))
        else:
            (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("where", ["", "raw", "FashionMNIST/raw"])
def test_fashion_mnist_layouts(tmp_path, where, compress):
    write_fashion(tmp_path / where, compress)
    task = DATASETS["fashion-mnist"](tmp_path)
    assert task.test.x.shape == (20, 1, 28, 28)
    assert task.test.x[:, 0, 5, 7].tolist() == list(range(20))
    assert task.test.y.tolist() == [i % 10 for i in range(20)]
    used = [getattr(task, s) for s in ("train", "cal", "val")]
    assert [len(s) for s in used] == [40, 10, 10]
    which = torch.cat([s.x[:, 0, 0, 0] for s in used])
    assert sorted(which.tolist()) == list(range(60))
    assert torch.equal(torch.cat([s.y for s in used]), which.long() % 10)
    assert task.class_names[9] == "Ankle boot"


def test_fashion_mnist_limit_and_seed(tmp_path):
    write_fashion(tmp_path)
    build = DATASETS["fashion-mnist"]
    task = build(tmp_path, limit=40)
    assert [len(s) for s in (task.train, task.cal, task.val, task.test)] == [20, 10, 10, 20]
    assert build(tmp_path, seed=1).fingerprint == build(tmp_path, seed=1).fingerprint
    assert build(tmp_path, seed=1).fingerprint != build(tmp_path, seed=2).fingerprint


def test_fashion_mnist_missing_file_says_what_and_where(tmp_path):
    write_fashion(tmp_path / "raw")
    (tmp_path / "raw" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match=r"t10k-labels-idx1-ubyte \(plain or .gz\)") as error:
        DATASETS["fashion-mnist"](tmp_path)
    assert str(tmp_path / "FashionMNIST" / "raw") in str(error.value)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("train-images-idx3-ubyte", idx_bytes(60, 1), "begins with 00000801.*begins with 00000803"),
        ("train-images-idx3-ubyte", idx_bytes(60, 3)[:-1], "has 47055 bytes.*asks for 47056"),
        ("train-labels-idx1-ubyte", b"", "begins with nothing"),
        ("train-labels-idx1-ubyte", idx_bytes(59, 1), "has 59 labels for 60 images"),
        ("t10k-labels-idx1-ubyte", struct.pack(">ii", 2049, 20) + b"\x0a" * 20, "from 10 to 10"),
    ],
)
def test_fashion_mnist_bad_content(tmp_path, name, data, message):
    write_fashion(tmp_path)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        DATASETS["fashion-mnist"](tmp_path)


@pytest.mark.parametrize("keep", [10, -9])
def test_fashion_mnist_damaged_compression(tmp_path, keep):
    write_fashion(tmp_path, compress=True)
    file = tmp_path / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(InputError, match="is damaged"):
        DATASETS["fashion-mnist"](tmp_path)


def cifar_content(n):
    # Row i of the data: channel c holds 10 c + i everywhere but for its first row of pixels.
    data = np.empty((n, 3, 32, 32), dtype=np.uint8)
    data[:] = np.arange(n)[:, None, None, None] + 10 * np.arange(3)[:, None, None]
    data[:, :, 0] = 255
    return {
        b"batch_label": b"training batch 1 of 1",
        b"data": data.reshape(n, 3072),
        b"fine_labels": [i % 4 for i in range(n)],
        b"coarse_labels": [i % 4 // 2 for i in range(n)],
        b"filenames": [b"%d.png" % i for i in range(n)],
    }


CIFAR_META = {
    b"fine_label_names": [b"apple", b"aquarium_fish", b"baby", b"bear"],
    b"coarse_label_names": [b"things", b"beings"],
}


def write_cifar(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    files = {"train": cifar_content(40), "test": cifar_content(8), "meta": CIFAR_META} | changes
    for name, content in files.items():
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    return folder


@pytest.mark.parametrize("where", ["", "cifar-100-python"])
def test_cifar_100(tmp_path, where):
    write_cifar(tmp_path / where)
    task = DATASETS["cifar-100"](tmp_path)
    assert task.class_names == ("apple", "aquarium_fish", "baby", "bear")
    assert [len(s) for s in (task.train, task.cal, task.val, task.test)] == [32, 4, 4, 8]
    assert task.test.y.tolist() == [0, 1, 2, 3] * 2
    image = task.test.x[5]
    assert image.shape == (3, 32, 32)
    assert (image[:, 0] == 255).all()
    assert image[:, 1:].flatten(1).unique(dim=1)[:, 0].tolist() == [5, 15, 25]


def test_cifar_100_coarse_and_text_keys(tmp_path):
    meta = {k.decode(): [n.decode() for n in names] for k, names in CIFAR_META.items()}
    task = DATASETS["cifar-100"](write_cifar(tmp_path, meta=meta), labels="coarse")
    assert task.class_names == ("things", "beings")
    assert task.test.y.tolist() == [0, 0, 1, 1] * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {b"data": 1}}, r"train lacks fine_labels; it has data:"),
        ({"meta": []}, r"meta lacks fine_label_names; it has nothing"),
        ({"train": cifar_content(40) | {b"data": np.zeros((40, 3072))}}, "no uint8 array"),
        ({"train": cifar_content(40) | {b"data": np.zeros((40, 99), np.uint8)}}, "rows of 3072"),
        ({"test": cifar_content(8) | {b"fine_labels": [0] * 7}}, "7 labels for 8 images"),
        ({"test": cifar_content(8) | {b"fine_labels": [None] * 8}}, "no list of integers"),
        ({"test": cifar_content(8) | {b"fine_labels": [4, 1, 2, 3] * 2}}, "labels from 1 to 4"),
    ],
)
def test_cifar_100_bad_content(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        DATASETS["cifar-100"](write_cifar(tmp_path, **changes))


def test_cifar_100_missing_file(tmp_path):
    (write_cifar(tmp_path) / "meta").unlink()
    with pytest.raises(InputError, match=r"expected the official files train, test, meta"):
        DATASETS["cifar-100"](tmp_path)
