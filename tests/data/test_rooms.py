"""Rooms of `fairsparse.data`: files know no task, and no data set knows another room's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fairsparse.data.registry

DATA = Path(fairsparse.data.registry.__file__).parent
FORBIDDEN = {
    "files": r"(?!files)\w+",  # bytes to arrays, whatever they are for
    "sets": "own",
    "own": "sets",
    "": "(sets|own)",  # what all sets share
}


@pytest.mark.parametrize("room", FORBIDDEN)
def test_imports_lead_down(room: str) -> None:
    modules = [path for path in (DATA / room).glob("*.py") if path != DATA / "__init__.py"]
    assert len(modules) > 3
    pattern = re.compile(rf"^(from|import) fairsparse\.data\.{FORBIDDEN[room]}\b", re.MULTILINE)
    assert [path.name for path in modules if pattern.search(path.read_text())] == []
