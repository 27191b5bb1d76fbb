"""Vocabularies: learned from texts, or read from a file."""

from __future__ import annotations

from pathlib import Path

from fairsparse.data.files.tokens import load_tokenizer, train_tokenizer

WORDS = ["good", "bad", "Day", "night", "wonderful", "terrible", "isn't", "it", "naïve", "7up"]


def sentence(i: int) -> str:
    return " ".join(WORDS[(i * k) % len(WORDS)] for k in range(1, 3 + i % 5))


def test_the_same_texts_give_the_same_vocabulary() -> None:
    texts = [sentence(i) + f" {i * 7919 % 1000} {chr(97 + i % 26) * 3}" for i in range(300)]
    found = [train_tokenizer("text", texts, 400, True).get_vocab() for _ in range(4)]
    assert all(v == found[0] for v in found[1:])
    assert len(found[0]) == 400
    specials = sorted(found[0], key=found[0].__getitem__)[:5]
    assert specials == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def test_letters_inside_words_are_no_special_tokens() -> None:
    tokenizer = train_tokenizer("text", [sentence(i) for i in range(50)], 200, True)
    assert "##o" in tokenizer.get_vocab()
    pieces = tokenizer.encode("##o good").tokens
    assert pieces[1:3] != ["##o", "good"]
    assert pieces[-2] == "good"


def test_capitals_count_when_asked_for() -> None:
    texts = ["Day day DAY"] * 5
    small = train_tokenizer("text", texts, 200, True).encode("Day day").ids
    large = train_tokenizer("text", texts, 200, False).encode("Day day").ids
    assert small[1] == small[2]
    assert large[1] != large[2]


def test_a_vocabulary_file_as_bert_has_it(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "day", "##s", "night"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    tokenizer = load_tokenizer("text", tmp_path)
    assert tokenizer.encode("Good days").ids == [2, 5, 6, 7, 3]
