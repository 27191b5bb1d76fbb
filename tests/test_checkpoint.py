"""Files that are whole or absent, and that say so when they are not what was written."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fairsparse.checkpoint import Stages, digest, read_tensors, write_json, write_tensors
from fairsparse.core import InputError

TENSORS = {
    "float": torch.randn(2, 3),
    "double": torch.tensor([1e-300, float("nan"), float("inf")], dtype=torch.float64),
    "bf16": torch.tensor([1.5, -0.0], dtype=torch.bfloat16),
    "half": torch.tensor([0.25], dtype=torch.float16),
    "bool": torch.tensor([[True, False, True]]),
    "int": torch.tensor([-1, 2**62]),
    "byte": torch.arange(5, dtype=torch.uint8),
    "scalar": torch.tensor(7),
    "empty": torch.empty(0, 4),
    "strided": torch.arange(12.0).view(3, 4).t(),
    "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "slice": torch.arange(10)[2:9:3],
    "leaf": torch.nn.Parameter(torch.ones(2)),
}
META = {
    "name": "r\u00e9sum\u00e9",
    "levels": [0.5, 0.9],
    "none": None,
    "nested": {"b": 1, "a": True},
}


def small(path: Path) -> bytes:
    write_tensors(path, {"w": torch.arange(3.0), "m": torch.tensor([True, False])}, {"step": 3})
    return path.read_bytes()


def one_line(path: Path) -> str:
    with pytest.raises(InputError) as error:
        read_tensors(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_everything_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "t.safetensors"
    write_tensors(path, TENSORS, META)
    tensors, meta = read_tensors(path)
    assert meta == META
    assert tensors.keys() == TENSORS.keys()
    for name, expected in TENSORS.items():
        assert tensors[name].dtype == expected.dtype
        assert tensors[name].shape == expected.shape
        assert torch.equal(tensors[name].nan_to_num(3), expected.detach().nan_to_num(3))
    assert os.listdir(path.parent) == ["t.safetensors"]


def test_shared_memory_and_no_tensors_at_all(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    write_tensors(tmp_path / "a", {"whole": whole, "same": whole, "part": whole[2:4]}, [])
    tensors, meta = read_tensors(tmp_path / "a")
    assert meta == []
    assert {name: t.tolist() for name, t in tensors.items()} == {
        "whole": [0, 1, 2, 3, 4, 5],
        "same": [0, 1, 2, 3, 4, 5],
        "part": [2, 3],
    }
    write_tensors(tmp_path / "b", {}, "only words")
    assert read_tensors(tmp_path / "b") == ({}, "only words")


def test_equal_content_is_equal_bytes(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a", {"x": torch.ones(2), "y": torch.zeros(1)}, {"a": 1, "b": 2})
    write_tensors(tmp_path / "b", {"y": torch.zeros(1), "x": torch.ones(2)}, {"b": 2, "a": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    "other",
    [
        {"v": torch.zeros(4)},
        {"w": torch.zeros(2, 2)},
        {"w": torch.zeros(4, dtype=torch.int32)},
        {"w": torch.tensor([0.0, 0.0, -0.0, 0.0])},
        {"w": torch.zeros(4), "v": torch.empty(0)},
    ],
)
def test_digest_covers_names_shapes_dtypes_and_bits(other: dict[str, Tensor]) -> None:
    assert digest({"w": torch.zeros(4)}, "") != digest(other, "")
    assert digest(other, "") != digest(other, "{}")


def test_truncated_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "t"
    data = small(path)
    for length in range(len(data)):
        path.write_bytes(data[:length])
        assert "truncated" in one_line(path)
    path.write_bytes(data + b"\0")
    one_line(path)


def test_any_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "t"
    data = small(path)
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << (place % 8)
        path.write_bytes(changed)
        one_line(path)
    changed = bytearray(data)
    changed[-1] ^= 1  # in a tensor, where the format itself cannot tell
    path.write_bytes(changed)
    assert "does not match its checksum; restore it, or delete it and run again" in one_line(path)


def header(text: str) -> bytes:
    return len(text).to_bytes(8, "little") + text.encode()


@pytest.mark.parametrize(
    "data",
    [
        b"PK\x03\x04" + bytes(64),
        b"",
        b"a,b\n1,2\n",
        header("{}"),
        header("[]"),
        header('{"__metadata__":null}'),
        header('{"__metadata__":{"fairsparse":"{}"}}'),
        header('{"__metadata__":{"fairsparse":"00 {}"}}'),
        header('{"__metadata__":{"other":"00 {}"}}'),
        (2**63).to_bytes(8, "little") + b"{}",
    ],
)
def test_foreign_bytes(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "t").write_bytes(data)
    one_line(tmp_path / "t")


def test_safetensors_and_pickles_of_others(tmp_path: Path) -> None:
    save_file({"w": torch.ones(2)}, tmp_path / "plain")
    save_file({"w": torch.ones(2)}, tmp_path / "noted", {"format": "pt"})
    torch.save({"w": torch.ones(2)}, tmp_path / "pickle")
    for name in ("plain", "noted", "pickle"):
        assert "of another program" in one_line(tmp_path / name)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert "cannot be read (No such file" in one_line(tmp_path / "nothing")
    assert "cannot be read (Is a directory" in one_line(tmp_path)


@pytest.mark.parametrize("call", ["fsync", "chmod", "replace"])
def test_a_failing_write_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "t"
    before = small(path)

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        write_tensors(path, {"w": torch.zeros(9)}, {})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["t"]


def test_the_old_file_stands_until_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t"
    before = small(path)
    seen = []
    replace = os.replace

    def spy(source: str, target: Path) -> None:
        seen.append((target.read_bytes(), read_tensors(Path(source))[1]))
        replace(source, target)

    monkeypatch.setattr(os, "replace", spy)
    write_tensors(path, {"w": torch.zeros(9)}, "new")
    assert seen == [(before, "new")]
    assert read_tensors(path)[1] == "new"


def test_json_holds_no_nan(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_json(path, {"a": [1, None]})
    assert json.loads(path.read_text()) == {"a": [1, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": [1, None]}


def test_stages(tmp_path: Path) -> None:
    stages, key = Stages(tmp_path), Stages.key("dense", {"b": 1, "a": 0.5})
    assert key == Stages.key("dense", {"a": 0.5, "b": 1})
    assert key not in {Stages.key("dense", {"a": 0.5, "b": 2}), Stages.key(["dense"], {"a": 0.5})}
    assert stages.load(key) is None
    stages.save(key, {"w": torch.ones(2)}, {"step": 1})
    tensors, meta = Stages(tmp_path).load(key) or ({}, None)
    assert tensors["w"].tolist() == [1, 1]
    assert meta == {"step": 1}
    (tmp_path / f"{key}.safetensors").write_bytes(b"half of it")
    with pytest.raises(InputError, match="delete it and run again"):
        stages.load(key)


def test_without_a_folder_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stages = Stages(None)
    stages.save("k", {"w": torch.ones(2)}, {})
    assert stages.load("k") is None
    assert os.listdir(tmp_path) == []
