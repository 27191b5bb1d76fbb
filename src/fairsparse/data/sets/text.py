"""Published texts: Moji's tweets, encoded or raw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from fairsparse.core import InputError
from fairsparse.data.assembly import assemble, text_task
from fairsparse.data.files.tokens import Tokenization
from fairsparse.data.labels import Labels
from fairsparse.data.registry import dataset
from fairsparse.data.splits import Assigned, Held, in_order
from fairsparse.data.task import Task

MOJI = ("neg_neg", "neg_pos", "pos_neg", "pos_pos")
"""Sentiment, then whether the tweet is written in African-American English."""
MOJI_SPLITS = {"train": "train", "dev": "val", "test": "test"}


@dataset("moji", fixed=("lowercase", "save_tokenizer"))
def moji(
    path: Path,
    *,
    tokenization: Tokenization = Tokenization(max_length=64),
    held: Held,
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
    """
    pieces, origin = _moji_pieces(path)
    y, group = (origin[column].to_numpy(copy=True) for column in ("sentiment", "dialect"))
    labels = Labels(y, group, ("negative", "positive"), ("SAE", "AAE"), ("dialect",))
    parts = held.divide(y, group, Assigned(origin["split"].to_numpy(dtype=object)))
    if isinstance(pieces[0], list):
        texts = [line for piece in pieces for line in piece]
        return text_task("moji", texts, labels, parts, tokenization)
    widths = {piece.shape[1] for piece in pieces}
    if len(widths) > 1:
        raise InputError(f"moji: encodings in {path} have {sorted(widths)} numbers; make them one")
    x = torch.from_numpy(_taken(pieces, in_order(parts)))
    return assemble("moji", x, labels, parts)


def _moji_pieces(path: Path) -> tuple[list[Any], pd.DataFrame]:
    """The encodings or the lines of every file, and where each example is from."""
    folders = {s: path / s for s in MOJI_SPLITS if (path / s).is_dir()} or {"": path}
    files = [
        (file, code // 2, code % 2, MOJI_SPLITS.get(split, "train"))
        for split, folder in folders.items()
        for code, file in enumerate(_moji_files(folder))
    ]
    if len({file.suffix == ".npy" for file, *_ in files}) > 1:
        raise InputError(f"moji: {path} holds encodings and text; keep files of one kind")
    pieces = [_array(file) if file.suffix == ".npy" else _lines(file) for file, *_ in files]
    rows = [row for piece, (_, *row) in zip(pieces, files, strict=True) for _ in range(len(piece))]
    return pieces, pd.DataFrame(rows, columns=["sentiment", "dialect", "split"])


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
        vocabulary = words.read_text(encoding="utf-8").splitlines()
        try:
            return [" ".join(vocabulary[int(part)] for part in line.split()) for line in lines]
        except (IndexError, ValueError):
            raise InputError(f"moji: {path} has a number that {words} has no word for") from None
    return lines
