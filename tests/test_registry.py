"""A table of names whose errors help."""

import pytest

from fairsparse.registry import Registry, nearest
from fairsparse.types import InputError


def table() -> Registry[int]:
    registry: Registry[int] = Registry("fruit")
    for i, name in enumerate(("pear", "apple", "cherry")):
        registry.register(name)(i)
    return registry


def test_a_sorted_table() -> None:
    registry = table()
    assert list(registry) == ["apple", "cherry", "pear"]
    assert (registry["pear"], registry["apple"], len(registry)) == (0, 1, 3)
    assert "cherry" in registry
    assert "plum" not in registry


def test_the_decorator_returns_what_it_was_given() -> None:
    registry: Registry[type] = Registry("kind")

    @registry.register("it")
    class It:
        pass

    assert registry["it"] is It


def test_unknown_names_the_nearest_and_all() -> None:
    with pytest.raises(InputError) as error:
        table()["aple"]
    assert str(error.value) == (
        "unknown fruit 'aple' (did you mean 'apple'?); known: apple, cherry, pear"
    )
    with pytest.raises(InputError, match=r"unknown fruit 'zzz'; known: apple, cherry, pear$"):
        table()["zzz"]


def test_a_name_is_given_once() -> None:
    registry = table()
    with pytest.raises(ValueError, match="fruit 'pear' is registered twice"):
        registry.register("pear")
    assert registry["pear"] == 0


def test_nearest_of_nothing() -> None:
    assert nearest("x", []) == ""
