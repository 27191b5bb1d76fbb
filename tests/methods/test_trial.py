"""The membership attack on models that leak and that cannot; the choice between candidates."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fairsparse.core import Predictions
from fairsparse.data.task import Split
from fairsparse.methods.safecompress import trial
from fairsparse.methods.safecompress.trial import Trial, Verdict, attack_accuracy, best, score
from fairsparse.training import Dense, Run, state_of
from helpers import network, tiny, trainer_for


def cloud(n: int, seed: int, classes: int = 10) -> Split:
    """Labels that depend on the inputs a little: whoever fits them exactly has learned by heart."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, 20, generator=torch.Generator().manual_seed(99))
    y = torch.randint(classes, (n,), generator=generator)
    x = 0.4 * centres[y] + torch.randn(n, 20, generator=generator)
    return Split(x, y, torch.full((n,), -1))


@cache
def overfitted() -> tuple[nn.Module, Split]:
    train = cloud(600, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(20, 200), nn.ReLU(), nn.Linear(200, 10))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(120):
        optimizer.zero_grad()
        F.cross_entropy(net(train.x), train.y).backward()
        optimizer.step()
    return net, train


def said(net: nn.Module, split: Split) -> Predictions:
    with torch.no_grad():
        return Predictions(net(split.x), split.y, split.group)


@pytest.mark.parametrize("seed", [0, 1])
def test_an_overfitted_model_betrays_its_examples(seed: int) -> None:
    net, train = overfitted()
    members, others = said(net, train), said(net, cloud(600, 2))
    assert float((members.logits.argmax(1) == members.y).float().mean()) > 0.99
    assert attack_accuracy(members, others, seed) > 0.65


@pytest.mark.parametrize("seed", [0, 1])
def test_a_model_that_saw_neither_betrays_nothing(seed: int) -> None:
    net, _ = overfitted()
    assert 0.5 <= attack_accuracy(said(net, cloud(600, 3)), said(net, cloud(600, 2)), seed) < 0.57


def noise(n: int, seed: int) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(n, 60, generator=generator)
    return Predictions(logits, torch.arange(n) % 60, torch.full((n,), -1))


def test_an_attack_that_learned_nothing_counts_as_guessing() -> None:
    """Members by chance: about half of all attacks do worse than a coin on the other half."""
    found = [attack_accuracy(noise(20, 1), noise(20, 2), seed) for seed in range(8)]
    assert min(found) == 0.5
    # judged on the half it has learned by heart, every attack would look perfect
    assert sum(found) / 8 < 0.7


def test_members_and_others_weigh_the_same_whatever_their_numbers() -> None:
    logits = torch.zeros(2000, 2)
    y = torch.zeros(2000, dtype=torch.int64)
    many, few = (Predictions(logits[:n], y[:n], y[:n] - 1) for n in (2000, 20))
    assert attack_accuracy(many, few, 0) == 0.5


def test_the_attack_is_repeatable_and_leaves_the_random_state_alone() -> None:
    net, train = overfitted()
    members, others = said(net, train), said(net, cloud(600, 2))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = attack_accuracy(members, others, 3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert attack_accuracy(members, others, 3) == first
    with pytest.raises(ValueError, match="needs 2 members and 2 others, got 1 and 600"):
        attack_accuracy(Predictions(*(t[:1] for t in members)), others, 0)


def test_the_score_in_closed_form() -> None:
    dense = Verdict(0.8, 0.5)
    assert score(Verdict(0.6, 1.0), dense, 1.0) == pytest.approx(0.75 / 2)
    assert score(Verdict(0.6, 1.0), dense, 2.0) == pytest.approx(0.75 / 4)
    assert score(Verdict(0.6, 1.0), dense, 0.0) == pytest.approx(0.75)
    assert score(Verdict(0.8, 0.0), Verdict(0.8, 1.0), 1.0) == pytest.approx(100)


def test_without_weight_the_most_accurate_is_kept() -> None:
    dense = Verdict(0.9, 1.0)
    found = [Verdict(0.7, 0.1), Verdict(0.9, 9.0), Verdict(0.8, 0.2), Verdict(0.9, 0.1)]
    assert best(found, dense, "ratio", 0.0, 0.0) == 1
    assert best(found, dense, "ratio", 1.0, 0.0) == 3
    assert best(found[:3], dense, "ratio", 1.0, 0.0) == 0


def test_the_least_cost_within_the_tolerance_is_kept() -> None:
    dense = Verdict(0.9, 1.0)
    found = [Verdict(0.80, 0.1), Verdict(0.90, 0.9), Verdict(0.89, 0.5), Verdict(0.885, 0.2)]
    assert best(found, dense, "lexicographic", 1.0, 0.0) == 1
    assert best(found, dense, "lexicographic", 1.0, 0.01) == 2
    assert best(found, dense, "lexicographic", 1.0, 0.05) == 3
    assert best(found, dense, "lexicographic", 1.0, 0.1) == 0


def given() -> Run:
    """An untrained network in the place of the dense one."""
    data, model = tiny(), network("mlp")
    dense = Dense({0: state_of(model)}, 0, val=None)  # type: ignore[arg-type]
    return Run(model, data, trainer_for(data), dense)


def test_fairness_is_measured_on_cal_relative_to_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    run = given()
    data, model = run.data, run.model
    judge = Trial(run, "fairness")
    assert judge.dense.cost == pytest.approx(1)
    # cal: 96 examples, 32 of each class; two classes right, half of the third
    logits = F.one_hot(data.cal.y, 3).float()
    logits[(data.cal.y == 2).nonzero()[:16, 0]] = torch.tensor([1.0, 0.0, 0.0])
    dense = model(data.cal.x).argmax(1)
    means = torch.stack([(dense == data.cal.y)[data.cal.y == k].float().mean() for k in range(3)])
    held = Predictions(logits, data.cal.y, data.cal.group)
    asked = []
    monkeypatch.setattr(run.trainer, "predict", lambda _, split: asked.append(split) or held)
    verdict = judge()
    assert asked == [data.cal]
    assert verdict.accuracy == pytest.approx(80 / 96)
    variance, width = 0.5**2 * 2 / 9, 0.5
    expected = variance / float(means.var(correction=0)) + width / float(means.max() - means.min())
    assert verdict.cost == pytest.approx(expected / 2)


def test_every_model_is_attacked_on_the_same_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    run, seen = given(), []
    data = run.data
    monkeypatch.setattr(trial, "attack_accuracy", lambda *a: seen.append(a) or 0.5)
    judge = Trial(run, "membership")
    run.model.load_state_dict(network("mlp", seed=1).state_dict())
    assert judge().cost == 0.5
    (members, others, seed), (members2, others2, seed2) = seen
    assert seed == seed2
    assert torch.equal(members.y, members2.y)
    assert torch.equal(others.y, others2.y)
    assert len(members.y) == len(others.y) == len(data.cal)
    # the network says of both what it says of the splits they are from
    net = network("mlp")
    for some, split in ((members, data.train), (others, data.cal)):
        every = run.trainer.predict(net, split).logits
        distance = (some.logits[:, None] - every).abs().amax(2)
        assert float(distance.amin(1).max()) < 1e-5
        assert len(distance.argmin(1).unique()) == len(data.cal)
