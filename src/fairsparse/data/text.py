"""Texts: any table of texts, and Moji's tweets, encoded or raw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from fairsparse.data.builders import DATASETS, Count, Seed, Share, terms
from fairsparse.data.generic import (
    Labels,
    assemble,
    coded,
    given_splits,
    identities,
    in_order,
    read_table,
    require,
)
from fairsparse.data.splits import divide
from fairsparse.data.task import Task
from fairsparse.data.tokens import Tokens, encode, load_tokenizer, train_tokenizer
from fairsparse.types import InputError

MOJI = ("neg_neg", "neg_pos", "pos_neg", "pos_pos")
"""Sentiment, then whether the tweet is written in African-American English."""
MOJI_SPLITS = {"train": "train", "dev": "val", "test": "test"}
Length = Annotated[int, Field(ge=4, le=100_000)]
Vocabulary = Annotated[int, Field(ge=100, le=1_000_000)]


@DATASETS.register("text")
def text_table(
    path: Path,
    text: str = "text",
    label: str = "label",
    groups: tuple[str, ...] = (),
    unknown: tuple[str, ...] = (),
    split_column: str | None = None,
    identity: str | None = None,
    tokenizer: Path | None = None,
    vocab_size: Vocabulary = 8192,
    lowercase: bool = True,
    save_tokenizer: Path | None = None,
    max_length: Length = 128,
    test: Share = 0.2,
    cal: Share = 0.1,
    val: Share = 0.1,
    seed: Seed = 0,
    limit: Count | None = None,
) -> Task:
    """Your texts: a CSV, JSON-lines or Parquet file with a text, a class and optional groups.

    Texts become token ids; a batch is as long as its longest text.

    Terms: those of the data given; whether groups are inferred is for their owner to say.

    Parameters
    ----------
    path : Path
        The file, ``.csv``, ``.jsonl`` (both also compressed) or ``.parquet``.
    text, label : str
        Columns of the texts and of the classes; both must be known in every row.
    groups : tuple of str
        Columns of sensitive attributes; several are intersected. A missing value is unknown.
    unknown : tuple of str
        Values of group columns that also mean unknown, such as ``"-1"``.
    split_column : str, optional
        Column with train, cal, val or test; splits it does not name are taken from train.
    identity : str, optional
        Column that says whose text it is; no identity is then in two splits.
    tokenizer : Path, optional
        Directory of a tokenizer (``tokenizer.json`` or ``vocab.txt``); without one, a WordPiece
        vocabulary is learned from the training texts.
    vocab_size : int
        Entries of a vocabulary that is learned, at most; the network's ``vocab_size`` likewise.
    lowercase : bool
        Of a vocabulary that is learned: whether capitals are small letters.
    save_tokenizer : Path, optional
        Folder to write ``tokenizer.json`` to, for use with the network.
    max_length : int
        Tokens of a text, its special ones included; how many texts are cut is told in the notes.
    test : float in (0, 0.5)
        Share of all examples, where no column gives a test split.
    cal, val : float in (0, 0.5)
        Shares of the training split.
    seed : int
    limit : int, optional
        Use at most so many training examples, counted before cal and val.
    """
    name = "text"
    frame = read_table(name, Path(path))
    columns = (text, label, *groups, split_column, identity)
    require(name, frame, [column for column in columns if column is not None])
    for column in groups:
        codes, names = coded(frame[column])
        known = np.array([name not in unknown for name in names] + [False])  # -1: missing
        frame[column] = frame[column].astype(object).where(known[codes], None)
    labels = Labels.of_columns(name, frame, label, groups)
    parts = divide(
        labels.y,
        labels.group,
        cal=cal,
        val=val,
        test=test,
        given=given_splits(name, frame, split_column),
        identity=identities(frame, identity),
        limit=limit,
        seed=seed,
    )
    texts = _texts(name, frame[text])
    how = (tokenizer, vocab_size, lowercase, save_tokenizer, max_length)
    return _encoded(text_table, name, texts, labels, parts, *how)


@DATASETS.register("moji")
def moji(
    path: Path,
    tokenizer: Path | None = None,
    vocab_size: Vocabulary = 8192,
    max_length: Length = 64,
    test: Share = 0.2,
    cal: Share = 0.1,
    val: Share = 0.1,
    seed: Seed = 0,
    limit: Count | None = None,
) -> Task:
    """Moji, tweets by positive or negative sentiment, with the dialect they are written in.

    Terms: tweets remain subject to the terms of X (Blodgett et al., 2016; Elazar and Goldberg,
    2018); sentiment is taken from the emoji that were removed. The dialect is a model's inference
    about the text (African-American or Standard American English), not about who wrote it.

    Parameters
    ----------
    path : Path
        Folder of ``pos_pos``, ``pos_neg``, ``neg_pos`` and ``neg_neg`` (sentiment, then whether
        the dialect is AAE), all as ``.npy`` encodings (N, F) or all as text, a tweet a line,
        plain or ``.txt``; or of folders ``train``, ``dev`` and ``test`` with these four. Lines of
        word numbers are looked up in a file ``vocab`` beside them.
    tokenizer : Path, optional
        Directory of a tokenizer for text; without one, a WordPiece vocabulary is learned from the
        training tweets.
    vocab_size : int
        Entries of a vocabulary that is learned, at most.
    max_length : int
        Tokens of a tweet, its special ones included.
    test : float in (0, 0.5)
        Share of all examples, where the folder does not give a test split.
    cal, val : float in (0, 0.5)
        Shares of the training split; val alone where the folder gives no ``dev``.
    seed : int
    limit : int, optional
        Use at most so many training examples, counted before cal and val.
    """
    root = Path(path)
    folders = {s: root / s for s in MOJI_SPLITS if (root / s).is_dir()} or {"": root}
    found = {s: _moji_files(folder) for s, folder in folders.items()}
    kinds = {file.suffix == ".npy" for files in found.values() for file in files}
    if len(kinds) > 1:
        raise InputError(f"moji: {root} holds encodings and text; keep files of one kind")
    pieces: list[Any] = []
    rows: list[tuple[int, int, str]] = []
    for split, files in found.items():
        for code, file in enumerate(files):
            piece = _array(file) if file.suffix == ".npy" else _lines(file)
            pieces.append(piece)
            rows += [(code // 2, code % 2, MOJI_SPLITS.get(split, "train"))] * len(piece)
    y, group = (np.array([row[i] for row in rows], dtype=np.int64) for i in (0, 1))
    labels = Labels(y, group, ("negative", "positive"), ("SAE", "AAE"), ("dialect",))
    given = np.array([row[2] for row in rows])
    shares = {"test": test, "cal": cal, "val": val, "seed": seed, "limit": limit}
    parts = divide(y, group, given=given, **shares)  # type: ignore[arg-type]
    if True in kinds:
        widths = {piece.shape[1] for piece in pieces}
        if len(widths) > 1:
            raise InputError(
                f"moji: encodings in {root} have {sorted(widths)} numbers; make them one"
            )
        x = torch.from_numpy(_taken(pieces, in_order(parts)))
        return assemble("moji", x, labels, parts, terms(moji))
    texts = [line for piece in pieces for line in piece]
    how = (tokenizer, vocab_size, True, None, max_length)
    return _encoded(moji, "moji", texts, labels, parts, *how)


def _encoded(
    builder: Callable[..., Task],
    name: str,
    texts: Sequence[str],
    labels: Labels,
    parts: dict[str, Any],
    tokenizer: Path | None,
    vocab_size: int,
    lowercase: bool,
    save_tokenizer: Path | None,
    max_length: int,
) -> Task:
    """The task of texts whose examples are divided."""
    if tokenizer is not None:
        made = load_tokenizer(name, Path(tokenizer))
    else:
        made = train_tokenizer(name, [texts[i] for i in parts["train"]], vocab_size, lowercase)
    ordered = [texts[i] for i in in_order(parts)]
    x, cut = encode(made, ordered, max_length)
    size = made.get_vocab_size()
    share = f"{cut} of {len(ordered)} texts are longer than {max_length} tokens and were cut."
    notes = f"{terms(builder)} {size} tokens; {share}"
    task = assemble(name, x, labels, parts, notes, Tokens(size, made))
    if save_tokenizer is not None:
        try:
            Path(save_tokenizer).mkdir(parents=True, exist_ok=True)
            made.save(str(Path(save_tokenizer) / "tokenizer.json"))
        except Exception as error:  # tokenizers raises bare exceptions
            raise InputError(f"{name}: {save_tokenizer} cannot be written ({error})") from None
    return task


def _texts(name: str, column: pd.Series) -> list[str]:
    missing = np.flatnonzero(column.isna())
    if len(missing):
        raise InputError(
            f"{name}: text column '{column.name}' is missing in {len(missing)} rows (first: row"
            f" {missing[0] + 1}); fill in or remove those rows"
        )
    return column.astype(str).tolist()


def _moji_files(folder: Path) -> list[Path]:
    for end in (".npy", ".txt", ""):
        files = [folder / f"{stem}{end}" for stem in MOJI]
        if all(file.is_file() for file in files):
            return files
    raise InputError(
        f"moji: expected pos_pos, pos_neg, neg_pos and neg_neg in {folder}, all as .npy or all as"
        " text; set path to where they are"
    )


def _array(path: Path) -> np.ndarray[Any, Any]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"moji: {path} is no readable array ({error}); fetch it again") from None
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise InputError(
            f"moji: {path} holds {array.dtype} of shape {array.shape}; numbers (N, F) are needed"
        )
    return array


def _taken(pieces: Sequence[np.ndarray[Any, Any]], order: Any) -> np.ndarray[Any, Any]:
    """Rows of the pieces, as if they lay one behind the other, without holding them all."""
    starts = np.cumsum([0, *map(len, pieces)])
    out = np.empty((len(order), pieces[0].shape[1]), dtype=np.float32)
    for i, piece in enumerate(pieces):
        mine = (order >= starts[i]) & (order < starts[i + 1])
        out[mine] = piece[order[mine] - starts[i]]
    return out


def _lines(path: Path) -> list[str]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines:
        raise InputError(f"moji: {path} has no tweets; fetch it again")
    words = path.parent / "vocab"
    if not words.is_file():
        words = path.parent.parent / "vocab"
    if words.is_file() and all(part.isdigit() for part in lines[0].split()):
        known = words.read_text(encoding="utf-8").splitlines()
        try:
            return [" ".join(known[int(part)] for part in line.split()) for line in lines]
        except (IndexError, ValueError):
            raise InputError(f"moji: {path} has a number that {words} has no word for") from None
    return lines
