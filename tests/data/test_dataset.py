"""What is registered: groups of options laid flat, documented, checked."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import torch
from pydantic import Field

from fairsparse.core import InputError
from fairsparse.data import DATASETS, Task, dataset, task
from fairsparse.data.registry import terms
from fairsparse.data.splits import Held
from fairsparse.registry import parameters


@dataclass(frozen=True)
class Coin:
    """What is thrown.

    Parameters
    ----------
    sides : int
        How many it has.
    metal : str
        Of what it is.
    edge : bool
        Whether it can stand.
    """

    sides: Annotated[int, Field(ge=2)] = 2
    metal: str = "tin"
    edge: bool = False


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the builder of the set ``coins`` was called with, in every call."""
    calls: list[Any] = []
    monkeypatch.setattr(DATASETS, "_items", dict(DATASETS._items))

    @dataset("coins", fixed=("edge", "test"))
    def coins(
        path: Path,
        face: Literal["king", "eagle"] = "king",
        *,
        coin: Coin = Coin(metal="gold", edge=True),
        held: Held,
    ) -> Task:
        """Throws of coins.

        Terms: none
        apply.

        Parameters
        ----------
        path : Path
            Where the throws are.
        face : {"king", "eagle"}
            What is predicted.
        metal : str
            Of what it is said to be.
        """
        calls.append((path, face, coin, held))
        x, y = torch.zeros(40, 1), torch.arange(40) % 2
        return task((x, y), (x, y), name="coins")

    return calls


def test_groups_of_options_are_laid_flat(built: list[Any]) -> None:
    options = inspect.signature(DATASETS["coins"]).parameters
    defaults = {name: option.default for name, option in options.items()}
    assert list(defaults.items()) == [
        ("path", inspect.Parameter.empty),
        ("face", "king"),
        ("sides", 2),
        ("metal", "gold"),
        ("cal", 0.1),
        ("val", 0.1),
        ("seed", 0),
        ("limit", None),
    ]
    assert {option.kind for option in options.values()} == {inspect.Parameter.POSITIONAL_OR_KEYWORD}
    DATASETS["coins"]("throws", "eagle", 3, cal=0.2, limit=9)
    DATASETS["coins"](path=Path("throws"))
    assert built == [
        (Path("throws"), "eagle", Coin(3, "gold", True), Held(cal=0.2, limit=9)),
        (Path("throws"), "king", Coin(2, "gold", True), Held()),
    ]


def test_the_builder_has_the_last_word_on_an_option(built: list[Any]) -> None:
    texts = {name: text for name, (_, text) in parameters(DATASETS["coins"]).items()}
    assert texts == {
        "path": "Where the throws are.",
        "face": "What is predicted.",
        "sides": "How many it has.",
        "metal": "Of what it is said to be.",
        "cal": "Shares of the training split.",
        "val": "Shares of the training split.",
        "seed": "Of the splits.",
        "limit": "Use at most so many training examples, counted before cal and val.",
    }
    assert parameters(DATASETS["coins"])["face"][0] == '{"king", "eagle"}'
    assert (inspect.getdoc(DATASETS["coins"]) or "").startswith("Throws of coins.\n\nTerms: none")


def test_the_terms_begin_the_notes(built: list[Any]) -> None:
    assert DATASETS["coins"]("throws").notes == "none apply."
    assert terms(lambda: None) == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"face": "queen"}, "coins: face: Input should be 'king' or 'eagle', got 'queen'"),
        ({"sides": 1}, "coins: sides: Input should be greater than or equal to 2, got 1"),
        ({"cal": 0.5}, "coins: cal: Input should be less than 0.5, got 0.5"),
        ({"val": 0.0}, "coins: val: Input should be greater than 0, got 0.0"),
        ({"limit": 0}, "coins: limit: Input should be greater than or equal to 1, got 0"),
        ({"seed": None}, "coins: seed: Input should be a valid integer, got None"),
    ],
)
def test_values_out_of_range_are_told_in_one_line(
    built: list[Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as error:
        DATASETS["coins"]("throws", **options)
    assert str(error.value) == message
    assert built == []


@pytest.mark.parametrize("option", ["edge", "test", "coin", "held", "typo"])
def test_what_is_not_offered_is_no_option(built: list[Any], option: str) -> None:
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{option}'"):
        DATASETS["coins"]("throws", **{option: True})


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("utkface", {"groups": ()}),
        ("utkface", {"groups": ("age",)}),
        ("adult", {"groups": ()}),
        ("cifar-100", {"labels": "medium"}),
        ("digits", {"longtail": 0.0}),
    ],
)
def test_unknown_choices_are_refused(name: str, bad: dict[str, Any]) -> None:
    required = {} if name == "digits" else {"path": "/none"}
    with pytest.raises(InputError, match=f"{name}: {next(iter(bad))}: .*, got"):
        DATASETS[name](**(required | bad))
