from __future__ import annotations

import inspect
import re

import pytest
from pydantic import ValidationError, validate_call

from fairsparse.data import DATASETS
from fairsparse.data.builders import terms

NAMES = ["adult", "cifar-100", "digits", "fashion-mnist", "image-table", "table", "utkface"]


def test_every_data_set_is_registered():
    assert set(NAMES) <= set(DATASETS)


@pytest.mark.parametrize("name", NAMES)
def test_describes_itself(name):
    builder = DATASETS[name]
    first = inspect.getdoc(builder).splitlines()[0]
    assert first.endswith(".")
    assert terms(builder)
    options = inspect.signature(builder).parameters
    assert {"cal", "val", "seed", "limit"} <= set(options)
    documented = re.findall(r"^    ([a-z_, ]+) :", builder.__doc__, flags=re.MULTILINE)
    assert sorted(", ".join(documented).split(", ")) == sorted(options)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "bad", [{"cal": 0.5}, {"val": 0.0}, {"seed": -1}, {"limit": 0}, {"typo": 1}]
)
def test_the_signature_refuses_values_out_of_range(name, bad):
    options = {"path": "/none", "target": "gender" if name == "utkface" else "y"}
    needed = {k: v for k, v in options.items() if k in inspect.signature(DATASETS[name]).parameters}
    with pytest.raises(ValidationError) as error:
        validate_call(DATASETS[name])(**(needed | bad))
    assert {e["loc"][0] for e in error.value.errors()} == set(bad)


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
def test_the_signature_refuses_unknown_choices(name, bad):
    needed = {} if name == "digits" else {"path": "/none"}
    with pytest.raises(ValidationError, match=next(iter(bad))):
        validate_call(DATASETS[name])(**(needed | bad))


def test_terms_of_a_builder_without_docstring_are_empty():
    assert terms(lambda: None) == ""
