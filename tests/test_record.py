"""A record: what is written, what is read of other versions, and what is refused."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fairsparse.core import InputError
from fairsparse.record import FORMAT, Record, read_record, schema, write_record
from fairsparse.report.run.page import run_report
from fairsparse.report.sweep.page import comparison_report

HERE = Path(__file__).parent
# written before records had a format; its audit has no p-values of metrics, and no findings
OLD = json.loads((HERE / "golden" / "record-0.json").read_text())


def put(folder: Path, values: Any) -> Path:
    (folder / "record.json").write_text(values if isinstance(values, str) else json.dumps(values))
    return folder


def changed(*path: str | int, value: Any) -> dict[str, Any]:
    values = copy.deepcopy(OLD)
    place = values
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return values


def lacking(*path: str | int) -> dict[str, Any]:
    values = changed(*path, value=None)
    place = values
    for part in path[:-1]:
        place = place[part]
    del place[path[-1]]
    return values


def test_an_old_record_is_read_and_written_as_it_is(tmp_path: Path) -> None:
    record = read_record(put(tmp_path, OLD))
    assert "format" not in record
    assert record.format == FORMAT
    assert record.to_dict() == OLD
    write_record(tmp_path, record)
    assert json.loads((tmp_path / "record.json").read_text()) == OLD
    assert read_record(tmp_path) == record


def test_an_old_record_can_be_compared() -> None:
    record = Record.model_validate(OLD)
    other = record.model_copy(update={"run": "another"})
    assert "another" in comparison_report([record, other])


@pytest.mark.parametrize(
    ("p", "says"), [(1.0, "none is shown to have lost more"), (0.01, "tested, 1 lost more")]
)
def test_the_page_of_an_old_record_goes_by_its_own_p_values(p: float, says: str) -> None:
    # cells are classes; the first one lost 3.33 points more, with a p-value of 1 as recorded
    assert OLD["audit"]["cells"][0]["excess_drop"] > 0
    old = changed("audit", "cells", 0, "excess_p_adjusted", value=p)
    assert says in run_report(Record.model_validate(old))


def test_what_was_never_recorded_has_a_default() -> None:
    record = Record.model_validate(lacking("controls"))
    assert record.controls == {}
    assert "controls" not in record
    with pytest.raises(KeyError, match="controls"):
        record["controls"]


def test_what_is_recorded_besides_stays() -> None:
    more = changed("audit", "cells", 0, "more", value=[1])
    more["extra"], more["data"]["extra"] = {"a": 1}, "b"
    record = Record.model_validate(more)
    assert record["extra"] == {"a": 1}
    assert record["data"]["extra"] == "b"
    assert record.to_dict() == more


def test_attributes_are_items() -> None:
    record = Record.model_validate(OLD)
    assert list(record) == list(OLD)
    assert len(record) == len(OLD)
    for name in ("data", "model", "method", "sparsity", "audit", "cost"):
        part = record[name]
        assert part is getattr(record, name)
        assert dict(part) == OLD[name]
    assert record.model.class_ == record["model"]["class"] == OLD["model"]["class"]
    assert {**record, "seed": 7}["seed"] == 7
    assert record.get("nothing", 1) == 1
    for name in ("class_", "to_dict", "model_fields"):
        assert name not in record.model


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "not a fairsparse record"),
        (changed("format", value=FORMAT + 1), f"has format {FORMAT + 1}, and this .* up to 1;"),
        (changed("format", value="x"), "format: Input should be a valid integer"),
        (lacking("counts"), "counts: Field required"),
        (changed("seed", value="3"), "seed: Input should be a valid integer"),
        (changed("sparsity", "kept", value=None), r"sparsity\.kept: Input should be"),
        (lacking("data", "class_names"), r"data\.class_names: Field required"),
        (changed("audit", "cells", 1, "drop", value="a"), r"audit\.cells\.1\.drop: Input should"),
        (lacking("audit", "metrics", "mcd", "change"), r"audit\.metrics\.mcd\.change: Field"),
    ],
)
def test_what_is_refused(tmp_path: Path, values: Any, message: str) -> None:
    with pytest.raises(InputError, match=rf"record\.json: {message}") as caught:
        read_record(put(tmp_path, values))
    assert "\n" not in str(caught.value)


def test_a_network_may_have_no_number(tmp_path: Path) -> None:
    values = changed("audit", "cells", 0, "drop", value=None)
    values["audit"]["metrics"]["mcd"]["candidate"]["value"] = None
    assert read_record(put(tmp_path, values)).audit.cells[0]["drop"] is None


def test_records_follow_the_published_schema() -> None:
    published = json.loads((HERE.parent / "docs" / "record.schema.json").read_text())
    assert published == schema(), "run python docs/generate.py"
    for record in (OLD, {**OLD, "format": FORMAT}):
        jsonschema.validate(record, published)
    with pytest.raises(jsonschema.ValidationError, match="kept"):
        jsonschema.validate(lacking("sparsity", "kept"), published)
