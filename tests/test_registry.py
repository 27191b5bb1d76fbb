"""A table of names whose errors help."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import TypeAdapter, ValidationError

from fairsparse.core import InputError
from fairsparse.registry import Registry, nearest, one_of


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


@pytest.mark.parametrize(
    ("names", "literal"),
    [
        (("pear",), Literal["pear"]),
        (("pear", "apple"), Literal["pear", "apple"]),
        (("pear", "apple", "cherry"), Literal["pear", "apple", "cherry"]),
    ],
)
def test_a_setting_follows_the_table_as_a_literal_would(
    names: tuple[str, ...], literal: Any
) -> None:
    registry: Registry[int] = Registry("fruit", sort=False)
    setting = TypeAdapter(Annotated[str, one_of(registry)])
    for i, name in enumerate(names):  # later than the annotation
        registry.register(name)(i)
    expected = TypeAdapter(literal)
    for value in names:
        assert setting.validate_python(value) == value
        assert setting.dump_python(value, mode="json") == value
    for bad in ("aple", 3, None, ["pear"]):
        messages = []
        for adapter in (setting, expected):
            with pytest.raises(ValidationError) as error:
                adapter.validate_python(bad)
            messages.append([(e["type"], e["msg"], e["input"]) for e in error.value.errors()])
        assert messages[0] == messages[1]
    schema = setting.json_schema()
    assert schema == {"enum": list(names), "type": "string"}
    if len(names) > 1:
        assert schema == expected.json_schema()
