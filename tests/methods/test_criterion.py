"""Criterion and grouping as options of methods, and pruning at initialisation."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from fairsparse.core import InputError
from fairsparse.experiments.plan import check_fit
from fairsparse.masks.criteria.registry import CRITERIA
from fairsparse.masks.criteria.scorers import snip
from fairsparse.masks.selection import select
from fairsparse.methods import METHODS
from fairsparse.methods.init import PruneAtInit
from fairsparse.methods.lth import LotteryTicket
from fairsparse.methods.magnitude import Magnitude
from fairsparse.training import cross_entropy, state_of
from helpers import bench, equal, network

FILTERS = {"grouping": "filter", "scope": "layerwise"}


@pytest.mark.parametrize("name", list(CRITERIA))
def test_every_criterion_prunes_a_trained_network(name: str) -> None:
    more: dict[str, Any] = FILTERS if CRITERIA[name].of_filters else {}
    method = Magnitude(sparsity=0.6, criterion=name, finetune=0.2, **more)  # type: ignore[arg-type]
    case = bench(method, "conv", epochs=1)
    masks = case.run(method).masks
    assert masks.n_kept == masks.n_total - round(0.6 * masks.n_total)
    assert masks.is_applied(case.model)


def test_another_criterion_gives_other_tickets_each_round() -> None:
    plain = LotteryTicket(sparsity=0.7, levels=(0.4,))
    other = LotteryTicket(sparsity=0.7, levels=(0.4,), criterion="taylor")
    one, two = (bench(m).run(m) for m in (plain, other))
    assert all(a != b for a, b in zip(one.path, two.path, strict=True))


def test_defaults_share_stages_with_methods_that_had_no_criterion() -> None:
    for method in (Magnitude(), LotteryTicket()):
        assert not {"criterion", "grouping"} & method.key_settings().keys()
    assert LotteryTicket(criterion="lamp").key_settings()["criterion"] == "lamp"
    assert LotteryTicket(grouping="filter").key_settings()["grouping"] == "filter"
    case = bench(LotteryTicket())
    keys = [
        case.chain("lth", LotteryTicket(criterion=c).rounds_settings()).key
        for c in ("magnitude", "lamp")
    ]
    assert keys[0] != keys[1]


def test_pruning_at_init_scores_the_untrained_network() -> None:
    method = PruneAtInit(sparsity=0.7, floor=0)
    case = bench(method)
    masks = case.run(method).masks
    # 96 examples of cal in one batch, in any order
    fresh = network("mlp")
    whole = case.data.cal.batch(torch.arange(96))
    expected = select(snip(fresh, method.weights(fresh), [whole], cross_entropy), 0.7)
    differing = sum(int((masks[n] != expected[n]).sum()) for n in masks)
    assert differing <= 2  # sums in another order


def test_pruning_at_init_trains_a_whole_schedule_from_the_start() -> None:
    method = PruneAtInit(sparsity=0.0)
    case = bench(method, "conv")
    dense = {name: t.clone() for name, t in case.dense.final.items()}
    case.run(method)
    assert equal(state_of(case.model), dense)


def test_flow_at_init_sees_no_data() -> None:
    digests = set()
    for seed in (1, 2):
        method = PruneAtInit(sparsity=0.8, criterion="synflow")
        case = bench(method, "conv")
        case.data.cal.y.random_(3, generator=torch.Generator().manual_seed(seed))
        case.data.cal.x.normal_(generator=torch.Generator().manual_seed(seed))
        digests.add(case.run(method).masks.digest())
    assert len(digests) == 1


def test_lottery_tickets_reach_a_pattern_in_one_round() -> None:
    method = LotteryTicket(sparsity=0.5, grouping="2:4")
    outcome = bench(method).run(method)
    assert len(outcome.path) == 1
    for mask in outcome.masks.values():
        assert bool((mask.reshape(-1, 4).sum(1) == 2).all())


def test_channels_of_a_residual_block_go_together() -> None:
    method = Magnitude(sparsity=0.5, grouping="channel", prune_first=True, finetune=0.2)
    case = bench(method, "residual")
    masks = case.run(method).masks
    kept = {name: mask.flatten(1).any(1) for name, mask in masks.items()}
    assert int((kept["stem.weight"] != kept["two.weight"]).sum()) <= 1
    assert int(kept["stem.weight"].sum()) < 6
    alone = Magnitude(sparsity=0.5, grouping="filter", prune_first=True, finetune=0.2)
    assert bench(alone, "residual").run(alone).masks != masks


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("lth", {"criterion": "fpgm"}, "use grouping filter"),
        ("lth", {"criterion": "fpgm", "grouping": "channel"}, "use scope layerwise"),
        ("lth", {"grouping": "2:4", "levels": (0.25,)}, "leave levels out"),
        ("magnitude", {"grouping": "2:4", "schedule": "gradual"}, "schedule 'one-shot'"),
        ("magnitude", {"grouping": "2:4", "sparsity": 0.9}, "its sparsity is 0.5; got 0.9"),
        ("init", {"grouping": "2:5"}, r"0\.weight, 2\.weight stay"),
    ],
)
def test_what_excludes_each_other_is_refused_before_training(
    method: str, options: dict[str, Any], message: str
) -> None:
    made = METHODS[method](**{"sparsity": 0.5, **options})  # type: ignore[call-arg]
    case = bench(made)
    task: Any = type("Task", (), {"name": "tiny", "n_classes": 3, **vars(case.data)})
    config = SimpleNamespace(training=case.trainer.recipe, controls=())
    setup: Any = SimpleNamespace(task=task, method=made, cells=case.trainer.cells, config=config)
    with pytest.raises(InputError, match=message):
        check_fit(case.model, setup)


def test_groupings_are_checked_and_read_as_yaml_gives_them() -> None:
    assert LotteryTicket(grouping=124).grouping == "2:4"  # type: ignore[arg-type]
    assert PruneAtInit(grouping="channel").grouping == "channel"
    for bad in ("filters", "4:2", 7, True):
        with pytest.raises(ValidationError):
            LotteryTicket(grouping=bad)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="known: weight, filter, channel, and n:m"):
        LotteryTicket(grouping="filters")
