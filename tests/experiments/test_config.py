"""Configurations: complete, exact, and the same after a file."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairsparse import METHODS, InputError, make_config, read_config
from fairsparse.experiments.config import complete_method
from fairsparse.experiments.options import options_model
from fairsparse.experiments.plan import plan
from fairsparse.experiments.settings import plain

SHARE = st.floats(0.01, 0.49)
REFINEMENTS = st.fixed_dictionaries(
    {},
    optional={
        "form": st.sampled_from(["weights", "penalty", "margin", "none"]),
        "strength": st.floats(0, 1e6),
        "keep": st.sampled_from(["best", "last"]),
        "plateau": st.integers(0, 99),
        "offsets": st.booleans(),
    },
)
METHOD = st.one_of(
    st.sampled_from(["dense", "magnitude", "lth", "ballot"]),
    st.fixed_dictionaries(
        {"name": st.just("lth")},
        optional={
            "levels": st.lists(st.floats(0.01, 0.99)),
            "rewind_at": st.none() | st.floats(0, 0.99),
            "refinement": st.none() | REFINEMENTS,
        },
    ),
    st.fixed_dictionaries(
        {"name": st.just("ballot"), "lambda_conflict": st.floats(-1e9, 1e9)},
        optional={
            "points": st.lists(st.floats(0.01, 1), min_size=1, max_size=3),
            "refinement": REFINEMENTS,
        },
    ),
)


def distinct(methods: list[Any]) -> list[Any]:
    """The methods without those that say the same again."""
    full = [make_config({"data": "digits", "model": "mlp", "methods": m}).methods for m in methods]
    return [m for i, m in enumerate(methods) if full[i] not in full[:i]]


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
DATA = st.one_of(
    st.just("digits"),
    st.fixed_dictionaries({"name": st.just("digits")}, optional={"cal": SHARE, "val": SHARE}),
    st.builds(
        lambda path, target, groups: {
            "name": "table",
            "path": path,
            "target": target,
            "groups": groups,
        },
        st.sampled_from(["a b.csv", "ü: #.csv", "no", "1.0", "~"]),
        WORDS,
        st.lists(WORDS, max_size=2),
    ),
)
CONFIGS = st.fixed_dictionaries(
    {"data": DATA, "model": st.sampled_from(["mlp", "lenet", {"name": "mlp", "hidden": [3]}])},
    optional={
        "training": st.fixed_dictionaries(
            {},
            optional={
                "epochs": st.integers(1, 999),
                "lr": st.floats(1e-12, 1e3),
                "augment": st.sampled_from([[], ["crop"], ["crop", "flip"]]),
                "schedule": st.sampled_from(["cosine", "one-cycle"]),
            },
        ),
        "cells": st.sampled_from(["class", "equalized-odds"]),
        "methods": st.lists(METHOD, min_size=1, max_size=4).map(distinct),
        "sparsities": st.lists(st.floats(0, 1, exclude_max=True), min_size=1, unique=True),
        "seeds": st.lists(st.integers(0, 2**40), min_size=1, max_size=3, unique=True),
    },
)


@settings(deadline=None)
@example({"data": {"name": "table", "path": "a.csv", "target": "a\x85b"}, "model": "mlp"})
@given(CONFIGS)
def test_a_file_gives_the_same_configuration(
    tmp_path_factory: pytest.TempPathFactory, values: Any
) -> None:
    config = make_config(values)
    path = tmp_path_factory.getbasetemp() / "c.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    again = read_config(path)
    assert again == config
    assert again.to_dict() == config.to_dict()
    assert yaml.safe_load(path.read_text()) == config.to_dict()
    assert again.to_yaml() == config.to_yaml()
    names = [job.name for job in plan(config)]
    assert len(set(names)) == len(names)


def test_every_option_is_spelled_out() -> None:
    config = make_config({"data": "digits", "model": "mlp", "methods": list(METHODS)})
    made = config.to_dict()
    assert list(made) == [
        *("data", "model", "training", "cells", "methods", "sparsities", "seeds"),
        *("controls", "resamples", "least"),
    ]
    for method in made["methods"]:
        model = options_model(METHODS[method["name"]], leave_out=("sparsity",))
        assert model is not None
        assert set(method) == {"name", *model.model_fields}
    assert made["model"] == {"name": "mlp", "hidden": [256, 128], "dropout": 0.0}
    (refinement,) = (m["refinement"] for m in made["methods"] if m["name"] == "ballot")
    assert refinement["form"] == "weights"


def test_jobs_by_seed_method_and_sparsity() -> None:
    config = make_config(
        {
            "data": "digits",
            "model": "mlp",
            "methods": ["lth", "dense", {"name": "lth", "rewind": "lr"}],
            "sparsities": [0.5, 0.9999999],
            "seeds": [3, 1],
        }
    )
    assert [job.name for job in plan(config)] == [
        f"{name}-seed{seed}"
        for seed in (3, 1)
        for name in ("lth-0.5", "lth-0.9999999", "dense", "lth-2-0.5", "lth-2-0.9999999")
    ]
    assert {job.sparsity for job in plan(config) if job.method["name"] == "dense"} == {0.0}


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_only_finite_numbers(value: float) -> None:
    base = {"data": "digits", "model": "mlp"}
    for values, key in (
        ({"training": {"lr": value}}, "training.lr"),
        ({"methods": [{"name": "ballot", "points": [0.5, value]}]}, "methods.0.points.1"),
        ({"sparsities": [value]}, "sparsities.0"),
    ):
        with pytest.raises(InputError, match=rf"^{key}: must be a finite number, got {value}$"):
            make_config({**base, **values})


def test_a_factory_of_ones_own_is_checked_by_its_signature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ownnets.py").write_text(
        "from __future__ import annotations\n"
        "from torch import nn\n"
        "def deep(input_shape, n_classes, *, depth: int = 2) -> nn.Module: ...\n"
        "def loose(input_shape, n_classes, **options): ...\n"
        "def odd(input_shape, n_classes, size: Absent = 3): ...\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, input_shape, n_classes, width: int = 4): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    def model(**values: Any) -> dict[str, Any]:
        return make_config({"data": "digits", "model": values}).model

    assert model(name="ownnets:deep") == {"name": "ownnets:deep", "depth": 2}
    assert model(name="ownnets:loose", any=1) == {"name": "ownnets:loose", "any": 1}
    assert model(name="ownnets:odd", size="x")["size"] == "x"
    assert model(name="ownnets:Net")["width"] == 4
    for name in ("deep", "Net"):
        option = {"deep": "depth", "Net": "width"}[name]
        with pytest.raises(InputError, match=rf"model\.{option}: .*integer.*'two'"):
            model(name=f"ownnets:{name}", **{option: "two"})


def test_plain_values() -> None:
    from fairsparse import Refinement

    assert plain({"a": (1, Path("x"))}) == {"a": [1, "x"]}
    assert plain(Refinement(strength=2))["strength"] == 2


def test_options_spelled_as_before_they_were_grouped_are_read_and_told_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    old = {"name": "ballot", "retries": 3, "alpha": 0.25, "selection": {"quota": 0.125}}
    done = [complete_method(old, "methods.7") for _ in range(2)]
    new = {"name": "ballot", "search": {"retries": 3}, "selection": {"quota": 0.125, "alpha": 0.25}}
    assert done == [complete_method(new, "methods.7")] * 2
    assert done[0]["search"]["retries"] == 3
    assert (done[0]["selection"]["alpha"], done[0]["selection"]["quota"]) == (0.25, 0.125)
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "methods.7: " in told
    assert "retries is now search.retries" in told
    assert "alpha is now selection.alpha" in told
    twice = {"name": "ballot", "alpha": 0.5, "selection": {"alpha": 0.5}}
    with pytest.raises(InputError, match=r"methods.7: alpha and selection are both given"):
        complete_method(twice, "methods.7")


def test_grouped_options_have_the_keys_of_flat_ones() -> None:
    method = METHODS["ballot"]
    flat = method(sparsity=0.9).flat_settings()
    assert {"lambda_conflict", "rewind_at", "refinement", "levels"} <= flat.keys()
    assert not {"selection", "search"} & flat.keys()
    changed = method(sparsity=0.9, selection={"alpha": 0.5})  # type: ignore[call-arg]
    assert changed.key_settings() == {**method(sparsity=0.9).key_settings(), "alpha": 0.5}
