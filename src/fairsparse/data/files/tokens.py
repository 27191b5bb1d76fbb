"""Texts to token ids, by a given tokenizer or a vocabulary learned from the training texts."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from fairsparse.core import InputError

PAD = -1
"""The id of no token: what follows the end of a shorter text."""
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_CHUNK = 4096
_ALPHABET = 1000
"""Letters that a vocabulary knows, the most frequent ones."""


@dataclass(frozen=True)
class Tokenization:
    """How texts become tokens.

    Parameters
    ----------
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
    """

    tokenizer: Path | None = None
    vocab_size: Annotated[int, Field(ge=100, le=1_000_000)] = 8192
    lowercase: bool = True
    save_tokenizer: Path | None = None
    max_length: Annotated[int, Field(ge=4, le=100_000)] = 128

    def tokenizer_of(self, name: str, texts: Sequence[str]) -> Any:
        """Read the tokenizer, or learn one from the training texts."""
        if self.tokenizer is not None:
            return load_tokenizer(name, self.tokenizer)
        return train_tokenizer(name, texts, self.vocab_size, self.lowercase)

    def save(self, name: str, tokenizer: Any) -> None:
        """Write the tokenizer where it was asked for."""
        if self.save_tokenizer is None:
            return
        try:
            self.save_tokenizer.mkdir(parents=True, exist_ok=True)
            tokenizer.save(str(self.save_tokenizer / "tokenizer.json"))
        except Exception as error:  # tokenizers raises bare exceptions
            raise InputError(f"{name}: {self.save_tokenizer} cannot be written ({error})") from None


@dataclass(frozen=True)
class Tokens:
    """Token ids as networks take them: int64, a batch as long as its longest text.

    A network's embedding has to have as many ids as the vocabulary; the tokenizer that made them
    turns them into words again.
    """

    vocabulary: int
    tokenizer: Any = field(default=None, repr=False, compare=False)

    def __call__(self, x: Tensor) -> Tensor:
        longest = max(1, int((x != PAD).sum(1).max()))
        return x[:, :longest].to(torch.int64)

    @property
    def special(self) -> frozenset[int]:
        """Ids that stand around every text, such as those of [CLS] and [SEP]."""
        return frozenset() if self.tokenizer is None else frozenset(self.tokenizer.encode("").ids)

    def pieces(self, ids: Tensor) -> tuple[str, ...]:
        """Each token of a text (L,) as text, padding left out; ``#id`` without a tokenizer.

        A piece begins with a space unless it continues the word before it.
        """
        codes = [int(i) for i in ids if int(i) != PAD]
        if self.tokenizer is None:
            return tuple(f" #{i}" for i in codes)
        names = [str(self.tokenizer.id_to_token(i)) for i in codes]
        marked = any(name[:1] in _BEGINS for name in names)
        return tuple(_piece(name, marked) for name in names)

    def decode(self, ids: Tensor) -> str:
        """A text (L,) as people read it, without special tokens and padding."""
        special = self.special
        kept = torch.tensor([int(i) for i in ids if int(i) not in special], dtype=torch.int64)
        return "".join(self.pieces(kept)).strip()


_BEGINS = ("\u0120", "\u2581")
"""What tokenizers of bytes and of sentences put before a word."""


def _piece(name: str, marked: bool) -> str:
    if name[:1] in _BEGINS:
        return " " + name[1:]
    if name.startswith("##") and len(name) > 2:
        return name[2:]
    return name if marked else " " + name


def load_tokenizer(name: str, folder: Path) -> Any:
    """Read a tokenizer from a directory: ``tokenizer.json``, or files as transformers writes them.

    Where there is none, or the package is missing, that is an `InputError`.
    """
    tokenizers = _package(name)
    file = folder / "tokenizer.json"
    try:
        if file.is_file():
            return tokenizers.Tokenizer.from_file(str(file))
        if (folder / "vocab.txt").is_file():
            return tokenizers.BertWordPieceTokenizer(str(folder / "vocab.txt"))._tokenizer
    except Exception as error:  # tokenizers raises bare exceptions
        raise InputError(f"{name}: {folder} holds no readable tokenizer ({error})") from None
    raise InputError(
        f"{name}: no tokenizer.json or vocab.txt in {folder}; give the directory of a tokenizer, or"
        " none to learn a vocabulary from the training texts"
    )


def train_tokenizer(name: str, texts: Sequence[str], size: int, lowercase: bool) -> Any:
    """Learn a WordPiece vocabulary of at most `size` entries, with BERT's special tokens.

    The same texts give the same vocabulary: letters inside words get their ids before the trainer
    draws them in an order of its own, by which it would break ties.
    """
    tokenizers = _package(name)
    draft = _wordpiece(tokenizers, {"[UNK]": 0}, lowercase)
    letters: Counter[str] = Counter()
    for text in texts:
        plain = draft.normalizer.normalize_str(text)
        for word, _ in draft.pre_tokenizer.pre_tokenize_str(plain):
            letters.update(word[1:])
    common = sorted(sorted(letters), key=lambda c: -letters[c])[:_ALPHABET]
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=size,
        special_tokens=[*_SPECIAL, *(f"##{c}" for c in common)],
        limit_alphabet=_ALPHABET,
        show_progress=False,
    )
    draft.train_from_iterator(texts, trainer)
    tokenizer = _wordpiece(tokenizers, draft.get_vocab(), lowercase)
    tokenizer.add_special_tokens(list(_SPECIAL))
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    return tokenizer


def _wordpiece(tokenizers: Any, vocabulary: dict[str, int], lowercase: bool) -> Any:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = tokenizers.decoders.WordPiece()
    return tokenizer


def encode_texts(tokenizer: Any, texts: Sequence[str], max_length: int) -> tuple[Tensor, int]:
    """Encode texts, padded with -1 to the longest: int32 (N, L), with L at most `max_length`.

    The second value is how many texts were longer and were cut.
    """
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    rows: list[list[int]] = []
    cut = 0
    for at in range(0, len(texts), _CHUNK):
        for encoding in tokenizer.encode_batch(list(texts[at : at + _CHUNK])):
            rows.append(encoding.ids)
            cut += bool(encoding.overflowing)
    out = torch.full((len(rows), max(1, *map(len, rows))), PAD, dtype=torch.int32)
    for i, ids in enumerate(rows):
        out[i, : len(ids)] = torch.tensor(ids, dtype=torch.int32)
    return out, cut


def _package(name: str) -> Any:
    try:
        return importlib.import_module("tokenizers")
    except ImportError:
        raise InputError(
            f'{name}: texts need the package tokenizers: pip install "fairsparse[text]"'
        ) from None
