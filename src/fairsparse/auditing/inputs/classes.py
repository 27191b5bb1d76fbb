"""The classes of an audit: those that true labels and models have together, in one spelling."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairsparse.auditing.inputs.labels import Coded, Notation, sorted_names, text
from fairsparse.core import InputError
from fairsparse.registry import listing, nearest

_TRUTH = {"true": ("1", "True"), "false": ("0", "False")}
_REFERENCE = re.compile(r"reference( \d+)?")


def spelling(names: Iterable[str]) -> dict[str, str]:
    """How to spell class names in which true and false are written in several ways.

    They are 1 and 0 where other names are, and else True and False; elsewhere nothing changes.

    >>> spelling(["True", "FALSE", "0", "1"]), spelling(["true", "False"]), spelling(["True", "no"])
    ({'True': '1', 'FALSE': '0'}, {'true': 'True', 'False': 'False'}, {})
    """
    words = dict.fromkeys(names)
    truths = {word: _TRUTH[word.casefold()] for word in words if word.casefold() in _TRUTH}
    others = words.keys() - truths.keys()
    if others - {"0", "1"}:
        return {}
    return {word: digit if others else name for word, (digit, name) in truths.items()}


@dataclass(frozen=True)
class Classes:
    """The classes that true labels and models have together.

    Of two the second is the positive one; ``notes`` say what has to be told.
    """

    names: tuple[str, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        labels: Mapping[str, Coded],
        called: Mapping[str, str],
        names: Sequence[str] | None,
        notation: Notation,
        every: bool = False,
        default: str | None = None,
    ) -> Classes:
        """Find the classes of labels that are spelled alike.

        Parameters
        ----------
        labels : mapping of str to Coded
            ``y``, then models; those that others are held against are called ``reference``, or
            ``reference 0`` and so on.
        called : mapping of str to str
            Name -> what messages call it, where that is another.
        names : sequence of str, optional
            All classes. Otherwise candidates may not predict one that neither labels nor reference
            have, unless `every` is set: two different tasks would be compared.
        notation : Notation
        default : str, optional
            The positive class, of two, where `notation` names none.

        Raises
        ------
        InputError
            For a class in one place alone, a reference that is never right, and a positive class
            that is none.
        """
        used = {called.get(key, key): column.used for key, column in labels.items()}
        first = [key for key in labels if _REFERENCE.fullmatch(key)]
        references = [called.get(key, key) for key in first]
        truth = called.get("y", "y")
        notes: list[str] = []
        if names is None:
            known = labels if every else [key for key in labels if key in ("y", *first)]
            names = _occurring({word for key in known for word in labels[key].used})
            notes = [note for r in references for note in _foreign(r, used[r], used[truth])]
        elif len(set(names)) != len(names):
            raise InputError("a class is named twice; give each class one name")
        for what, words in used.items():
            strange = [word for word in words if word not in set(names)]
            if strange:
                raise InputError(
                    f"{what} has classes that others do not have: {listing(strange, 5)}; known:"
                    f" {listing(names, 8)}; name all classes (--classes, class_names=) if that is"
                    " right"
                )
        for key, what in zip(first, references, strict=True):
            if not (labels[key].recoded(names) == labels["y"].recoded(names)).any():
                raise InputError(
                    f"{what} is right for no example: it predicts {listing(used[what], 5)} where"
                    f" the true classes are {listing(used[truth], 5)}; write them in one notation,"
                    " and check that rows match"
                )
        chosen = _positive(names, notation.positive, default)
        return cls(chosen, (*notes, *notation.told))


def of_positive(names: Sequence[str]) -> str:
    """What is told of the positive one of two classes."""
    return (
        f"The positive class is '{names[1]}': demographic parity and equal opportunity compare its"
        " rates. --positive (positive=) names the other one."
    )


def _occurring(names: set[str]) -> tuple[str, ...]:
    """Names in order; text that stands for no number is no class unless classes are named."""
    for word in names:
        if word.casefold() in ("nan", "<na>"):
            raise InputError(
                f"'{word}' is a class; leave out rows without a label, or name all classes"
                " (--classes, class_names=) where it is one"
            )
    return sorted_names(names)


def _foreign(what: str, predicted: Sequence[str], true: Sequence[str]) -> list[str]:
    """Refuse a model that predicts one class that no example is, and another one never.

    What it predicts beside all true classes is told; that no class fits is told elsewhere.
    """
    extra, never = sorted_names({*predicted} - {*true}), sorted_names({*true} - {*predicted})
    if extra and never and len(never) < len(true):
        raise InputError(
            f"{what} predicts {listing(extra, 5)}, which no example is, and never"
            f" {listing(never, 5)}; write classes in one notation, or name all (--classes,"
            " class_names=)"
        )
    return [f"{what} predicts {listing(extra, 5)}, which no example is."] if extra else []


def _positive(names: Sequence[str], positive: Any, default: str | None) -> tuple[str, ...]:
    """The class names, of two the positive one last."""
    last = default
    if positive is not None:
        last = text(positive)
        last = spelling([*names, last]).get(last, last)
        if len(names) != 2 or last not in names:
            raise InputError(
                f"positive '{last}' is not one of two classes{nearest(last, names)}; there are:"
                f" {listing(names, 8)}"
            )
    if len(names) != 2:
        return tuple(names)
    last = last if last in names else sorted_names(names)[1]
    return tuple(sorted(names, key=lambda name: name == last))
