"""YAML of people: what it may hold, and how the rest is refused, in one line and at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fairsparse import yamls
from fairsparse.core import InputError

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.text("ab: -#&*[]{}'\n", max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc"), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_what_is_within_bounds_is_read_as_the_library_reads_it(value: object) -> None:
    assert yamls.values(yaml.safe_dump(value), "here") == value


def test_aliases_and_merged_keys_are_read() -> None:
    text = "base: &b {lr: 1, epochs: 2}\nmine: {<<: *b, lr: 3}\nother: *b\n"
    one = {"lr": 1, "epochs": 2}
    assert yamls.values(text, "here") == {"base": one, "mine": {**one, "lr": 3}, "other": one}
    assert yamls.values("", "here") is None
    assert yamls.nodes("", "here") is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: {c: 1, d: 2, c: 3}", "in line 2 ('c' is given twice)"),
        ("a: 1\n'a': 1", "in line 2 ('a' is given twice)"),
        ("1: a\n0x1: b", "in line 2 ('0x1' is given twice)"),
        ("- {<<: {a: 1}, <<: {a: 2}}", "in line 1 ('<<' is given twice)"),
        ("? [a]\n: b", "in line 1 (a key has to be a single value)"),
        ("[" * 51 + "]" * 51, "nested more than 50 deep"),
        ("{a: " * 10_000, "nested more than 50 deep"),
        ("- " * 10_000, "nested more than 50 deep"),
        ("a: &a [1, *a]", "in line 1 (a value that holds itself)"),
        ("[" + "x," * yamls.NODES + "]", "more than 50,000 values"),
        ("a: 2030-02-31", "a value that is none: day "),
        ("!!int x", "a value that is none"),
        ("!!bool x", "a value that is none"),
        ("!!timestamp x", "a value that is none"),
        (f"a: {'1' * 5000}", "a value that is none"),
        ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: [1", "in line 1 (expected ',' or ']'"),
        ("a: 1\n--- {}\n", "another document"),
        ("a: \x01", "special characters are not allowed"),
        ("*gone", "found undefined alias"),
    ],
)
def test_the_rest_is_refused_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(InputError) as told:
        yamls.values(text, "here")
    assert problem in str(told.value)
    assert str(told.value).startswith("here: not valid YAML")


def test_aliases_count_wherever_they_stand() -> None:
    thousand = "a: &a [" + "x," * 1000 + "]\n"
    assert yamls.values(f"{thousand}b: [{'*a,' * 48}]", "here")["b"][47] == ["x"] * 1000
    with pytest.raises(InputError, match=r"in line 2 \(more than 50,000 values"):
        yamls.values(f"{thousand}b: [{'*a,' * 49}]", "here")


def test_files_are_bounded_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")  # as some editors begin a text
    assert yamls.values(yamls.read(path), "here") == {"a": 1}
    path.write_bytes(b"#" * (yamls.BYTES + 1))
    with pytest.raises(InputError, match="more than 1,048,576 bytes"):
        yamls.read(path)
    with pytest.raises(InputError, match="No such file"):
        yamls.read(tmp_path / "none.yaml")
