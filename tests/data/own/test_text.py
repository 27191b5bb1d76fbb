"""Tables of texts: tokens, the vocabulary that is learned, what is cut."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fairsparse.core import InputError
from fairsparse.data import DATASETS
from fairsparse.data.files.tokens import encode_texts, load_tokenizer, train_tokenizer
from fairsparse.data.task import SPLITS, Task

text = DATASETS["text"]
WORDS = ["good", "bad", "Day", "night", "wonderful", "terrible", "isn't", "it", "naïve", "7up"]


def sentence(i: int) -> str:
    return " ".join(WORDS[(i * k) % len(WORDS)] for k in range(1, 3 + i % 5))


def rows(n: int = 80) -> list[dict[str, Any]]:
    return [
        {
            "tweet": sentence(i),
            "mood": ("sad", "happy")[i % 2],
            "dialect": (0, 1, -1, None)[i // 2 % 4],
            "where": "train" if i % 5 else "test",
        }
        for i in range(n)
    ]


def write(path: Path, table: list[dict[str, Any]]) -> Path:
    if ".jsonl" in path.suffixes:
        content = "\n".join(json.dumps(row) for row in table).encode()
    else:
        head = ",".join(table[0])
        lines = [",".join("" if v is None else f'"{v}"' for v in row.values()) for row in table]
        content = "\r\n".join([head, *lines]).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def build(path: Path, **options: Any) -> Task:
    given = {"text": "tweet", "label": "mood", "groups": ("dialect",), "unknown": ("-1",)}
    return text(path, **{**given, **options})


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.jsonl", "t.jsonl.gz"])
def test_a_table_of_texts(tmp_path: Path, name: str) -> None:
    task = build(write(tmp_path / name, rows()), split_column="where")
    assert len(task.test) == 16
    assert task.class_names == ("happy", "sad")
    assert task.group_names == ("0", "1")
    unknown = sum(int((getattr(task, s).group < 0).sum()) for s in SPLITS)
    assert unknown == 40  # -1 and what is missing
    assert task.train.x.dtype == torch.int32
    x = task.test.batch(torch.arange(4)).x
    assert x.dtype == torch.int64
    assert bool((x[:, 0] == 2).all())  # [CLS]
    assert "0 of 80 texts are longer than 128 tokens" in task.notes


def test_the_vocabulary_is_learned_from_training_texts_alone(tmp_path: Path) -> None:
    table = rows()
    before = build(write(tmp_path / "a.csv", table), split_column="where", save_tokenizer=tmp_path)
    for row in table:
        if row["where"] == "test":
            row["tweet"] = "zyx " + row["tweet"]
    after = build(write(tmp_path / "b.csv", table), split_column="where")
    assert torch.equal(before.train.x, after.train.x)
    tokenizer = load_tokenizer("text", tmp_path)
    assert tokenizer.encode("zyx wonderful").tokens == ["[CLS]", "[UNK]", "wonderful", "[SEP]"]
    assert tokenizer.decode(tokenizer.encode("wonderful night").ids) == "wonderful night"
    # the file gives the same tokens again
    again = build(tmp_path / "a.csv", split_column="where", tokenizer=tmp_path)
    assert torch.equal(again.train.x, before.train.x)
    assert again.fingerprint == before.fingerprint


def test_long_texts_are_cut_and_counted(tmp_path: Path) -> None:
    table = rows()
    for i in (3, 8):
        table[i]["tweet"] = "good " * 30
    task = build(write(tmp_path / "t.csv", table), max_length=12)
    assert task.input_shape == (12,)
    assert "2 of 80 texts are longer than 12 tokens and were cut." in task.notes
    tokenizer = train_tokenizer("text", ["good day"] * 9, 200, True)
    x, cut = encode_texts(tokenizer, ["good " * 30, "good"], 5)
    assert cut == 1
    assert x[0].tolist() == [2, x[0, 1], x[0, 1], x[0, 1], 3]  # the end keeps its [SEP]
    assert x[1].tolist() == [2, x[0, 1], 3, -1, -1]


def test_a_batch_is_as_long_as_its_longest_text(tmp_path: Path) -> None:
    task = build(write(tmp_path / "t.csv", rows()))
    lengths = (task.train.x >= 0).sum(1)
    short = (lengths <= lengths.float().median()).nonzero()[:3, 0]
    x = task.train.batch(short).x
    assert x.shape[1] == int(lengths[short].max()) < task.input_shape[0]
    assert torch.equal(x, task.train.x[short][:, : x.shape[1]].long())
    assert task.train.prepare(torch.full((2, 5), -1)).shape == (2, 1)  # no text at all


def test_what_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    table = rows()
    table[6]["tweet"] = None
    cases: list[tuple[dict[str, Any], str]] = [
        (
            {"path": write(tmp_path / "null.csv", table)},
            r"'tweet' is missing in 1 rows \(first: row 7",
        ),
        ({"path": write(tmp_path / "t.csv", rows()), "text": "twet"}, "no column 'twet'"),
        (
            {"path": tmp_path / "t.csv", "tokenizer": tmp_path},
            r"no tokenizer\.json or vocab\.txt in",
        ),
        ({"path": tmp_path / "absent.csv"}, "no file"),
    ]
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "tokenizer.json").write_text("{")
    cases.append(({"path": tmp_path / "t.csv", "tokenizer": tmp_path / "broken"}, "no readable"))
    (tmp_path / "broken.jsonl").write_text('{"tweet": "a"\n')
    cases.append(({"path": tmp_path / "broken.jsonl"}, "is no readable table"))
    cases.append(
        ({"path": tmp_path / "t.csv", "save_tokenizer": tmp_path / "t.csv"}, "cannot be written")
    )
    for options, message in cases:
        with pytest.raises(InputError, match=message) as caught:
            build(**options)
        assert "\n" not in str(caught.value)
