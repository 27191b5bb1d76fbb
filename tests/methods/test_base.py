"""What a method is: its name, the checks that it inherits, what the keys of its stages name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
import torch

from fairsparse.core import InputError
from fairsparse.fairness.cells import Cells
from fairsparse.masks.criteria import scorers
from fairsparse.masks.maskset import MaskSet
from fairsparse.masks.selection import select
from fairsparse.methods import METHODS
from fairsparse.methods.method import (
    Facts,
    Fraction,
    Key,
    Later,
    Levels,
    Methods,
    Sparsity,
    options,
)
from fairsparse.methods.shared.one_stage import OneStage
from fairsparse.training import Round, Run, between, state_of
from fairsparse.training.refinement import Refinement
from helpers import bench, equal, network

CELLS = Cells("class", ("a", "b", "c"))
OWN = Methods("method")


@OWN.register("own")
@options
class Own(OneStage):
    """Remove the smallest weights."""

    facts: ClassVar[Facts] = Facts("unstructured", "never", "1")
    sparsity: Sparsity = 0.5
    fraction: Fraction = 0.2
    levels: Levels = ()
    floor: float = 0.0
    refinement: Refinement | None = None
    young: Annotated[int, Later(3)] = 3
    judge: Annotated[float, Key.NEVER] = 0.0

    def make(self, run: Run) -> Round:
        """Prune the network."""
        masks = select(scorers.magnitude(self.weights(run.model)), self.sparsity)
        masks.apply_(run.model)
        return Round(masks, state_of(run.model), {"sparsity": masks.sparsity})


def by_hand(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def test_registering_a_method_names_it() -> None:
    assert Own.name == Own().name == "own"
    assert {name: METHODS[name].name for name in METHODS} == {name: name for name in METHODS}
    assert not hasattr(OneStage, "name")
    with pytest.raises(ValueError, match="'own' is registered twice"):
        OWN.register("own")


def test_every_file_that_registers_a_method_is_imported() -> None:
    folder = Path(__file__).parents[2] / "src" / "fairsparse" / "methods"
    names = [
        line.split('"')[1]
        for path in folder.rglob("*.py")
        for line in path.read_text().splitlines()
        if line.startswith("@METHODS.register(")
    ]
    assert sorted(names) == list(METHODS)


def test_keys_name_an_option_as_it_is_marked() -> None:
    plain = {"sparsity": 0.5, "fraction": 0.2, "levels": (), "floor": 0.0, "refinement": None}
    assert Own().key_settings() == plain
    assert Own(judge=0.7).key_settings() == Own().key_settings()
    assert Own(young=4).key_settings() == {**Own().key_settings(), "young": 4}
    ways = [Own(sparsity=0.9), Own(fraction=0.5), Own(levels=(0.2,)), Own(judge=1.0)]
    assert all(way.rounds_settings() == Own().rounds_settings() for way in ways)
    assert Own(floor=0.1).rounds_settings() != Own().rounds_settings()
    assert Own.plan_options() == {"sparsity", "fraction", "levels"}


def test_the_key_of_a_stage_names_all_before_it() -> None:
    case = bench(Own())
    stages: list[str] = []
    case.trainer.stages.save = lambda key, *_: stages.append(key)  # type: ignore[method-assign]
    masks = MaskSet.dense(case.weights(Own()))

    def made() -> Round:
        return Round(masks, case.dense.final, {})

    chain = case.chain("own", {"a": None})
    chain.stage(0.5, make=made)
    chain.branch().stage("aside", 0.7, make=made)
    chain.stage(0.7, 2, make=made)
    first = by_hand(by_hand("tiny 0", "own", {"a": None}), 0.5)
    assert stages == [first, by_hand(first, "aside", 0.7), by_hand(first, 0.7, 2)]
    stages.clear()
    case.chain().stage("own", {"b": [1]}, make=made)
    case.run(Own(sparsity=0.25))
    assert stages == [
        by_hand("tiny 0", "own", {"b": [1]}),
        by_hand("tiny 0", "own", Own(sparsity=0.25).key_settings()),
    ]


def test_the_network_is_in_the_state_of_the_stage_however_it_was_got(tmp_path: Path) -> None:
    first, second = (bench(Own(), folder=tmp_path) for _ in range(2))
    outcome = first.run(Own())
    with torch.no_grad():
        for p in second.model.parameters():
            p.fill_(3.0)
    assert second.run(Own()) == outcome
    assert equal(state_of(second.model), state_of(first.model))
    assert outcome.masks.is_applied(second.model)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"floor": 0.9}, "a floor of 0.9 per layer needs"),
        ({"levels": (0.4, 0.2)}, "give rising sparsities"),
        ({"refinement": Refinement(form="weights")}, "cannot reach demographic parity"),
    ],
)
def test_options_that_methods_share_are_checked_wherever_a_method_has_them(
    settings: Any, says: str
) -> None:
    parity = Cells("demographic-parity", ("no", "yes"), ("a", "b"))
    Own().check(network("mlp"), parity)
    with pytest.raises(InputError, match=says) as caught:
        Own(**settings).check(network("mlp"), parity)
    assert "\n" not in str(caught.value)


def test_offsets_need_a_last_bias() -> None:
    net = network("mlp")
    own = Own(refinement=Refinement(form="none", offsets=True))
    own.check(net, CELLS)
    net[4].bias = None  # type: ignore[index]
    with pytest.raises(InputError, match="this model has none"):
        own.check(net, CELLS)


def test_what_cannot_be_is_refused_before_a_stage_is_made() -> None:
    case = bench(Own())
    before = state_of(case.model)
    with pytest.raises(InputError, match="give rising sparsities"):
        case.run(Own(levels=(0.4, 0.2)))
    assert equal(state_of(case.model), before)


def test_the_last_share_of_a_schedule_has_a_step_at_least() -> None:
    dense = bench(Own()).dense
    starts = [dense.start_of_last(share) for share in (1.0, 0.5, 0.25, 0.01)]
    assert starts == [0, 6, 9, 11]


def test_a_state_between_two_is_on_their_line() -> None:
    a = {"w": torch.tensor([0.0, 2.0]), "n": torch.tensor(3)}
    b = {"w": torch.tensor([1.0, -2.0]), "n": torch.tensor(5)}
    assert between(a, b, 0.25)["w"].tolist() == [0.25, 1.0]
    assert between(a, b, 0.25)["n"] == 3
    assert equal(between(a, b, 0), a)
    assert equal(between(a, b, 1), b)
