"""Refinement: what it watches, what it changes in the loss, what it keeps."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from torch import nn

from fairsparse.core import InputError
from fairsparse.fairness.steering.spread import Spread, objective, spread
from fairsparse.methods.fair_scratch.method import FairScratch
from fairsparse.methods.lth import LotteryTicket
from fairsparse.methods.magnitude import Magnitude
from fairsparse.methods.safecompress.method import SafeCompress
from fairsparse.training import Dense, Loop, Run, state_of
from fairsparse.training.refinement import Refinement
from fairsparse.training.refinement.pressure import Pressure
from fairsparse.training.refinement.refining import Watch, raised, refine
from helpers import bench, equal


def seen(accuracy: float, variance: float = 0.01, range_: float = 0.2) -> Spread:
    return Spread(accuracy, variance, range_, torch.ones(3), torch.ones(3))


REFERENCE = Dense({}, 10, seen(0.8))


class Counter(nn.Module):
    """A model whose only weight is the number of epochs it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch = nn.Parameter(torch.zeros(()))


def watch_all(
    settings: Refinement, epochs: list[Spread]
) -> tuple[Watch, list[float], list[int | None]]:
    """The watch after all epochs, and each epoch's rate factor and epoch to rewind to."""
    watch, model = Watch(settings, REFERENCE, REFERENCE.val.accuracy), Counter()
    factors: list[float] = []
    backs: list[int | None] = []
    for i, now in enumerate(epochs):
        nn.init.constant_(model.epoch, i)
        back = watch.see(now, model)
        factors.append(watch.factor)
        backs.append(None if back is None else int(back["epoch"]))
    return watch, factors, backs


def kept(watch: Watch) -> int:
    assert watch.best is not None
    return int(watch.best["epoch"])


def test_the_objective_orders_the_epochs_within_the_tolerance() -> None:
    epochs = [seen(0.8, 0.001), seen(0.8, 0.02), seen(0.8, 0.005), seen(0.8, 0.006)]
    assert kept(watch_all(Refinement(), epochs)[0]) == 0
    assert kept(watch_all(Refinement(), epochs[1:])[0]) == 1


def test_an_epoch_within_the_tolerance_beats_any_outside() -> None:
    epochs = [seen(0.7, 0.0, 0.0), seen(0.795, 0.05, 0.6), seen(0.78, 0.0, 0.0)]
    assert kept(watch_all(Refinement(tolerance=0.01), epochs)[0]) == 1


def test_outside_the_tolerance_the_most_accurate_epoch_is_kept() -> None:
    epochs = [seen(0.6, 0.0, 0.0), seen(0.7, 0.05, 0.6), seen(0.65, 0.0, 0.0)]
    assert kept(watch_all(Refinement(tolerance=0.01), epochs)[0]) == 1


def test_epochs_are_held_to_the_most_accurate_of_their_run() -> None:
    fair = seen(0.8, 0.001, 0.01)
    late = [seen(0.83, 0.02), seen(0.815, 0.0, 0.0)]
    assert kept(watch_all(Refinement(tolerance=0.01), [fair, *late])[0]) == 1
    # less than the tolerance apart is as accurate
    assert kept(watch_all(Refinement(tolerance=0.04), [fair, *late])[0]) == 2


def test_epochs_are_held_to_what_other_tickets_reached() -> None:
    watch = Watch(Refinement(tolerance=0.01), REFERENCE, 0.85)
    for i, now in enumerate([seen(0.82, 0.0, 0.0), seen(0.845, 0.05), seen(0.835, 0.0, 0.0)]):
        model = Counter()
        nn.init.constant_(model.epoch, i)
        watch.see(now, model)
    assert kept(watch) == 1


def test_the_rate_is_halved_after_a_plateau_and_has_a_lowest_value() -> None:
    _, factors, _ = watch_all(Refinement(plateau=2), [seen(0.8)] * 14)
    # the first epoch is progress; then two stale epochs for each halving
    assert factors[:7] == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]
    assert factors[-1] == 0.05


def test_progress_keeps_the_rate_and_creeping_does_not() -> None:
    def falling(by: float) -> list[Spread]:
        return [seen(0.8, 0.01 * (1 - by) ** i, 0.2 * (1 - by) ** i) for i in range(8)]

    assert watch_all(Refinement(plateau=2), falling(0.05))[1][-1] == 1
    assert watch_all(Refinement(plateau=2), falling(1e-4))[1][-1] < 1
    assert watch_all(Refinement(plateau=0), [seen(0.8)] * 14)[1][-1] == 1


def diverging(epochs: int) -> list[Spread]:
    return [seen(0.8, 0.01)] + [seen(0.79, 0.02)] * epochs


def test_three_diverging_epochs_ask_for_the_best_state_and_half_the_rate() -> None:
    settings = Refinement(plateau=0, rewinds=3)
    _, factors, backs = watch_all(settings, diverging(4))
    assert backs == [None, None, None, 0, None]
    assert factors == [1, 1, 1, 0.5, 0.5]


def test_rewinds_are_limited() -> None:
    for limit in (0, 1, 2):
        watch, _, backs = watch_all(Refinement(plateau=0, rewinds=limit), diverging(20))
        assert watch.rewinds == limit == sum(back is not None for back in backs)


def test_neither_a_gain_in_accuracy_nor_a_pause_is_divergence() -> None:
    settings = Refinement(plateau=0)
    rising = [seen(0.8, 0.01)] + [seen(0.8 + 0.01 * i, 0.02) for i in range(1, 8)]
    pausing = [seen(0.8, 0.01)] + [seen(0.79, 0.02), seen(0.79, 0.02), seen(0.79, 0.01)] * 3
    slight = [seen(0.8, 0.01)] + [seen(0.79, 0.0124)] * 8
    for epochs in (rising, pausing, slight):
        assert watch_all(settings, epochs)[0].rewinds == 0


def tickets(settings: Refinement, **recipe: Any) -> tuple[Any, dict[str, Any], Loop]:
    case = bench(LotteryTicket(rewind_at=0.0), "conv", **recipe)
    loop = Loop(case.trainer, case.model, case.data.train, stage="ticket", snapshots=range(99))
    case.model.load_state_dict(case.dense.states[0])
    return case, refine(loop, case, settings), loop


def test_the_loss_follows_the_cells_after_every_epoch_but_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # what is measured after the last epoch steers nothing, and must not count as an overshoot
    steps: list[int] = []
    plain = Pressure.update

    def update(pressure: Any, held_out: Any) -> Any:
        steps.append(loops[-1].step)
        return plain(pressure, held_out)

    loops: list[Loop] = []
    see = Loop.__iter__
    monkeypatch.setattr(Loop, "__iter__", lambda loop: loops.append(loop) or see(loop))
    monkeypatch.setattr(Pressure, "update", update)
    tickets(Refinement(), epochs=3)
    assert steps == [6, 12]


def test_off_is_plain_training() -> None:
    case, log, _ = tickets(Refinement.off(), epochs=3)
    assert equal(state_of(case.model), case.dense.final)
    assert log["val_drop"] == 0
    assert log["objective"] == pytest.approx(objective(case.dense.val, case.dense.val)[0])


def test_the_best_epoch_of_the_later_half_is_kept_not_the_last() -> None:
    settings = Refinement(distill=0.0, recalibrate=0, plateau=0, rewinds=0, tolerance=1.0)
    case, log, loop = tickets(settings, epochs=6, lr=0.12, schedule="constant")
    ends = {}
    for step in (24, 30, 36):  # the epochs after the first half of 36 steps
        case.model.load_state_dict(loop.states[step])
        now = spread(case.trainer.cells, case.trainer.predict(case.model, case.data.val))
        ends[step] = objective(now, case.dense.val)[0]
    assert ends[30] < min(ends[24], ends[36])
    assert log["objective"] == pytest.approx(min(ends.values()))


def test_recalibration_changes_the_statistics_alone() -> None:
    plain = {"plateau": 0, "rewinds": 0, "form": "none", "keep": "last", "warmup": 0}
    ends = [
        state_of(tickets(Refinement(**plain, recalibrate=n))[0].model)  # type: ignore[arg-type]
        for n in (0, 20)
    ]
    changed = {n for n in ends[0] if not torch.equal(ends[0][n], ends[1][n])}
    assert changed
    assert all("running" in n or "num_batches" in n for n in changed)


@pytest.mark.parametrize("form", ["weights", "penalty", "margin"])
def test_every_form_changes_training_from_the_second_epoch_on(form: Any) -> None:
    quiet = {
        "distill": 0.0,
        "plateau": 0,
        "rewinds": 0,
        "keep": "last",
        "recalibrate": 0,
        "warmup": 0,
    }
    case, _, loop = tickets(Refinement(form=form, strength=0.5, **quiet), epochs=2)  # type: ignore[arg-type]
    _, _, plain = tickets(Refinement.off(), epochs=2)
    assert equal(loop.states[6], plain.states[6])
    assert not equal(loop.states[12], plain.states[12])
    assert case.trainer.history[-1]["loss"] > 0


def test_a_rewind_in_the_run_restores_the_best_epoch_at_half_the_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Watched are the last five of ten epochs: one good, then three with three times the gap.
    good, bad = seen(0.9, 0.01), seen(0.89, 0.03)
    script = iter([good] + [bad] * 3 + [good] * 2)
    settings = Refinement(form="none", warmup=0, plateau=0, recalibrate=0)
    case = bench(LotteryTicket(rewind_at=0.0), epochs=10, schedule="constant", lr=0.1)
    monkeypatch.setattr(Run, "spread", lambda *_: next(script))
    loop = Loop(case.trainer, case.model, case.data.train, stage="ticket")
    case.model.load_state_dict(case.dense.states[0])
    dense = replace(case.dense, val=good)
    restored: list[Any] = []
    plain = loop.restore
    monkeypatch.setattr(
        loop, "restore", lambda state: restored.append((loop.step, state)) or plain(state)
    )
    log = refine(loop, replace(case, dense=dense), settings)
    rates = [entry["lr"] for entry in case.trainer.history if entry["stage"] == "ticket"]
    assert rates == pytest.approx([0.1] * 9 + [0.05])
    assert log["rewinds"] == log["halvings"] == 1
    # the rewind after the ninth epoch, and the return to the best at the end
    assert [step for step, _ in restored] == [54, 60]


def test_the_accuracy_lost_sets_the_next_pressure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for accuracy, after in ((0.797, 0.6), (0.792, 0.4), (0.78, 0.2)):
        case = bench(LotteryTicket(rewind_at=0.0))
        monkeypatch.setattr(Run, "spread", lambda *_, a=accuracy: seen(a))
        loop = Loop(case.trainer, case.model, case.data.train, stage="x")
        dense = replace(case.dense, val=seen(0.8))
        log = refine(loop, replace(case, dense=dense), Refinement(tolerance=0.01), strength=0.4)
        monkeypatch.undo()
        assert log["strength"] == 0.4
        assert log["next_strength"] == pytest.approx(after)
        assert log["val_drop"] == pytest.approx(0.8 - accuracy)


def test_what_tickets_reached_sets_the_tolerance_and_ends_the_teaching(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(reach: float | None, distill: float = 0.5) -> tuple[dict[str, Any], Any]:
        case = bench(LotteryTicket(rewind_at=0.0))
        case.model.load_state_dict(case.dense.states[0])
        monkeypatch.setattr(Run, "spread", lambda *_: seen(0.797))
        loop = Loop(case.trainer, case.model, case.data.train, stage="x")
        dense = replace(case.dense, val=seen(0.8))
        settings = Refinement(tolerance=0.01, distill=distill)
        log = refine(loop, replace(case, dense=dense), settings, 0.4, reach=reach)
        monkeypatch.undo()
        return log, state_of(case.model)

    alone, taught = run(None)
    log, untaught = run(0.815)
    assert (alone["distilled"], log["distilled"]) == (True, False)
    assert (alone["reach"], log["reach"]) == (0.8, 0.815)
    assert alone["next_strength"] == pytest.approx(0.6)
    assert log["next_strength"] == pytest.approx(0.2)
    assert alone["val_drop"] == log["val_drop"] == pytest.approx(0.003)  # against dense, always
    assert not equal(taught, untaught)
    assert equal(untaught, run(None, distill=0.0)[1])
    assert run(0.785)[0]["reach"] == 0.797


def test_less_than_the_tolerance_more_does_not_raise_the_reach() -> None:
    assert raised(0.8, 0.809, 0.01) == raised(0.8, 0.7, 0.01) == 0.8
    assert raised(0.8, 0.811, 0.01) == 0.811


def test_warm_up_is_counted_in_epochs() -> None:
    case = bench(LotteryTicket(rewind_at=0.0), schedule="constant", lr=0.1)
    loop = Loop(case.trainer, case.model, case.data.train, stage="x")
    rates: list[float] = []
    loop.optimizer.register_step_pre_hook(lambda o, *_: rates.append(o.param_groups[0]["lr"]))
    refine(loop, case, replace(Refinement.off(), warmup=0.5))
    assert rates == pytest.approx([0.1 / 3, 0.2 / 3] + [0.1] * 10)


def test_offsets_are_part_of_a_ticket() -> None:
    case, log, _ = tickets(replace(Refinement.off(), offsets=True))
    assert "offset_strength" in log
    now = spread(case.trainer.cells, case.trainer.predict(case.model, case.data.val))
    assert log["val_accuracy"] == now.accuracy
    assert log["val_variance"] == now.variance


def gradual(refinement: Any, **settings: Any) -> tuple[Any, Any]:
    method = Magnitude(sparsity=0.7, schedule="gradual", refinement=refinement, **settings)
    case = bench(method, "conv", epochs=8)
    return case, case.run(method)


def test_gradual_pruning_under_a_refinement_that_is_off_is_gradual_pruning() -> None:
    plain, first = gradual(None)
    off, second = gradual(asdict(Refinement.off()))
    assert first.masks == second.masks
    assert equal(state_of(plain.model), state_of(off.model))
    pressed, third = gradual({"warmup": 0, "keep": "last", "recalibrate": 0})
    assert not equal(state_of(plain.model), state_of(pressed.model))
    assert third.masks.n_kept == first.masks.n_kept


def test_no_epoch_is_kept_while_masks_still_move(monkeypatch: pytest.MonkeyPatch) -> None:
    # of 8 epochs the masks stay from the sixth on; the seventh is the best of the last three
    script = iter([seen(0.8, 0.03), seen(0.8, 0.01), seen(0.8, 0.02), seen(0.8, 0.01)])
    monkeypatch.setattr(Run, "spread", lambda *_: next(script))
    restored: list[int] = []
    plain = Loop.restore
    monkeypatch.setattr(Loop, "restore", lambda loop, s: restored.append(id(s)) or plain(loop, s))
    kept: list[tuple[int, int]] = []
    see = Watch.see

    def watched(watch: Watch, now: Spread, model: Any) -> Any:
        back = see(watch, now, model)
        kept.append((round(now.variance * 100), id(watch.best)))
        return back

    monkeypatch.setattr(Watch, "see", watched)
    case, outcome = gradual({"form": "none", "plateau": 0, "rewinds": 0, "recalibrate": 0})
    assert [variance for variance, _ in kept] == [3, 1, 2]
    assert restored == [kept[1][1]]
    assert outcome.masks.is_applied(case.model)
    assert list(script) == []


def test_safecompress_selects_as_before_and_trains_its_last_phase_refined() -> None:
    settings = {"sparsity": 0.7, "interval": 3, "probe": 2, "stop": 0.5}
    ends = []
    for refinement in (None, asdict(Refinement.off()), {"warmup": 0, "strength": 2.0}):
        method = SafeCompress(**settings, refinement=refinement)  # type: ignore[arg-type]
        case = bench(method, "conv", epochs=4)
        ends.append((state_of(case.model), case, case.run(method)))
        ends[-1] = (state_of(case.model), *ends[-1][1:])
    (plain, _, first), (off, _, second), (pressed, case, third) = ends
    assert equal(plain, off)
    assert not equal(plain, pressed)
    assert first.masks == second.masks == third.masks
    assert first.rounds == second.rounds[:-1] == third.rounds[:-1]
    assert third.rounds[-1]["step"] == third.rounds[-2]["step"] + 2
    assert case.trainer.steps == ends[0][1].trainer.steps


def test_fair_scratch_learns_its_scores_refined_and_no_weight() -> None:
    plain = {"sparsity": 0.7, "term": "none", "keep": "last", "recalibrate": 0}
    ends = []
    for refinement in (None, asdict(Refinement.off()), {"strength": 2.0, "warmup": 0}):
        method = FairScratch(**plain, refinement=refinement)  # type: ignore[arg-type]
        case = bench(method, "conv", epochs=4)
        ends.append((case.run(method), state_of(case.model)))
    assert ends[0][0].masks == ends[1][0].masks
    assert equal(ends[0][1], ends[1][1])
    assert ends[0][0].masks != ends[2][0].masks
    both = {n for n in ends[0][1] if not torch.equal(ends[0][1][n], ends[2][1][n])}
    assert {n for n in both if "running" not in n and "num_batches" not in n} == set(
        ends[0][0].masks
    )


def test_a_term_takes_the_place_of_the_form() -> None:
    off = asdict(Refinement.off())
    logs = []
    for settings in ({"refinement": off}, {"keep": "last", "recalibrate": 0}):
        method = FairScratch(sparsity=0.7, term="cells", lam=3.0, **settings)  # type: ignore[arg-type]
        case = bench(method, epochs=4)
        logs.append((case.run(method).masks, state_of(case.model)))
    assert logs[0][0] == logs[1][0]
    assert equal(logs[0][1], logs[1][1])
    method = FairScratch(term="cells", refinement=Refinement())
    with pytest.raises(InputError, match="term 'cells' and refinement form 'weights' would both"):
        method.check(case.model, case.trainer.cells)


@pytest.mark.parametrize("method", [SafeCompress(), FairScratch()])
def test_an_option_that_came_later_leaves_old_keys_as_they_were(method: Any) -> None:
    assert method.key_settings() == {
        k: v for k, v in method.settings().items() if k not in ("refinement", "lr_factor")
    }
    assert "refinement" in replace(method, refinement=Refinement()).key_settings()
    assert "refinement" in Magnitude().key_settings()
