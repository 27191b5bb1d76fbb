"""YAML that people write: read within bounds, and refused where a key is given twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from fairsparse.core import InputError

BYTES = 2**20
"""Of a file at most."""
DEPTH = 50
"""How deep lists and mappings may be nested."""
NODES = 50_000
"""Values of a file at most, those of aliases counted wherever they stand."""


class _Loader(yaml.SafeLoader):
    """The safe loader, within `DEPTH` and `NODES`; keys are unique, and no value holds itself."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0
        self.nodes = 0
        self.sizes: dict[int, int] = {}  # of finished nodes, by identity, with all they refer to

    def compose_node(self, parent: Any, index: Any) -> Any:
        mark, alias = self.peek_event().start_mark, self.check_event(yaml.AliasEvent)
        if self.depth >= DEPTH:
            raise _at(mark, f"nested more than {DEPTH} deep")
        before = self.nodes
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if alias and id(node) not in self.sizes:
            raise _at(mark, "a value that holds itself")
        self.nodes += self.sizes[id(node)] if alias else 1
        if self.nodes > NODES:
            raise _at(mark, f"more than {NODES:,} values, with those that aliases repeat")
        if not alias:
            self.sizes[id(node)] = self.nodes - before
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        keys = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _at(key.start_mark, "a key has to be a single value")
            merging = key.tag == "tag:yaml.org,2002:merge"  # which stands for no value
            one = key.value if merging else self.construct_object(key)
            if one in keys:
                raise _at(key.start_mark, f"'{key.value}' is given twice")
            keys.add(one)
        return node


def _at(mark: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def read(path: str | Path) -> str:
    """The text of a YAML file; `InputError` where it cannot be read, is no text, or too long."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if len(text) > BYTES:
        raise InputError(f"{path}: has more than {BYTES:,} bytes; no configuration needs as many")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file; it has to be YAML in UTF-8") from None


def values(text: str, where: str) -> Any:
    """What a YAML text says, as plain values.

    Raises
    ------
    InputError
        With the line, where it is no YAML, gives a key twice, or is beyond the bounds.
    """
    return _read(text, where, lambda loader: loader.get_single_data())


def nodes(text: str, where: str) -> yaml.Node | None:
    """The same as nodes, which know their lines; None of an empty text."""
    return _read(text, where, lambda loader: loader.get_single_node())


def _read(text: str, where: str, get: Any) -> Any:
    try:
        return get(_Loader(text))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", "cannot be read")
        raise InputError(f"{where}: not valid YAML{line} ({problem})") from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        # what the library lets through of values that are not of their kind: 2030-02-31, !!int x
        raise InputError(f"{where}: not valid YAML (a value that is none: {error})") from None
