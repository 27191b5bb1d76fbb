"""Ratios of cost in training and pruning, each with its two sides in turn in one process.

Masked step against plain step; conflict measurement of a round against one training epoch; a whole
Ballot search against lottery tickets with the same rounds; masks that move against masks that
stay; FairGRAPE's selection of a round for 14 cells, in the layers of a ResNet-18, against a minute;
a step that learns masks and weights against a plain one; a step that learns which random weights
of a ResNet-18 to use against a plain one (needs torchvision). Data are random tensors of the shape
and size of Fashion-MNIST, or of CIFAR's images: cost does not depend on what the pixels show. Times
are CPU seconds of the process, which runs on one thread: other work on the machine counts for less
than in wall time, but a wide range between lowest and highest says that it was there.
"""

from __future__ import annotations

import statistics
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable

import torch
from torch import nn

from benchmarks.records import load, store
from fairsparse.data import Split
from fairsparse.data.task import TrainData
from fairsparse.fairness.cells import Cells
from fairsparse.masks.criteria import scorers
from fairsparse.masks.maskset import MaskSet, prunable
from fairsparse.masks.selection import select
from fairsparse.methods import train_dense
from fairsparse.methods.ballot.evidence import conflict_points
from fairsparse.methods.ballot.method import Ballot
from fairsparse.methods.bifp.method import Bifp
from fairsparse.methods.fair_scratch.method import FairScratch
from fairsparse.methods.fair_scratch.subnet import Subnet
from fairsparse.methods.fairgrape.shares import balanced
from fairsparse.methods.lth import LotteryTicket
from fairsparse.methods.safecompress.method import SafeCompress
from fairsparse.models import build
from fairsparse.training import Dense, Loop, Recipe, Round, Run, Trainer, in_turn

CLASSES = tuple(str(i) for i in range(10))


def data(n: int, shape: tuple[int, ...] = (1, 28, 28)) -> TrainData:
    """Random images in the layout of a task whose cal and val are an eighth of train each."""
    generator = torch.Generator().manual_seed(0)

    def split(size: int) -> Split:
        x = torch.randint(256, (size, *shape), dtype=torch.uint8, generator=generator)
        y = torch.randint(10, (size,), generator=generator)
        return Split(x, y, torch.full((size,), -1))

    return TrainData(split(n), split(n // 8), split(n // 8), CLASSES, ())


def trainer(epochs: int) -> Trainer:
    """A trainer for CPU-friendly runs."""
    recipe = Recipe(epochs=epochs, lr=0.01, precision="bf16", channels_last=True)
    return Trainer(recipe, Cells("class", CLASSES))


def ratio(
    a: Callable[[], None], b: Callable[[], None], pairs: int, warm: bool = True
) -> dict[str, float]:
    """Median ratio of the CPU times of `a` and `b`, run in turn, after one warm-up of each."""
    if warm:
        a(), b()
    times = []
    for _ in range(pairs):
        began = time.process_time()
        a()
        middle = time.process_time()
        b()
        times.append((middle - began, time.process_time() - middle))
    ratios = sorted(x / y for x, y in times)
    return {
        "ratio": round(statistics.median(ratios), 4),
        "lowest": round(ratios[0], 4),
        "highest": round(ratios[-1], 4),
        "seconds": round(statistics.median(x for x, _ in times), 4),
        "against seconds": round(statistics.median(y for _, y in times), 4),
    }


def masked_step() -> dict[str, float]:
    """An epoch of masked steps against an epoch of plain ones, at sparsity 0.9."""
    some = data(2560)

    def epoch(masked: bool) -> Callable[[], None]:
        model = build("small-cnn", (1, 28, 28), 10)
        masks = select(scorers.magnitude(prunable(model)), 0.9, floor=0.005) if masked else None

        def run() -> None:
            for _ in Loop(trainer(1), model, some.train, stage="speed", masks=masks):
                pass

        return run

    return ratio(epoch(True), epoch(False), 15)


def conflict_round() -> dict[str, float]:
    """All of a round's conflict measurement against one epoch on 48,000 images."""
    some, setting = data(48000), trainer(1)
    model = build("small-cnn", (1, 28, 28), 10)
    setting.place(model)
    state = {name: t.clone() for name, t in model.state_dict().items()}
    method = Ballot(sparsity=0.9)
    how = method.selection
    points = dict.fromkeys(range(1, 5), state)
    parent = Round(MaskSet.dense(method.weights(model)), state, {}, points)
    run = Run(model, some, setting, Dense(points, 4, val=None))

    def measure() -> None:
        conflict_points(run, method.weights(model), parent, how)

    def epoch() -> None:
        for _ in Loop(trainer(1), model, some.train, stage="speed"):
            pass

    return ratio(measure, epoch, 5)


def search() -> dict[str, float]:
    """A Ballot search of four rounds without retries against LTH with the same rounds."""
    some = data(8000)
    levels = (0.5, 0.75, 0.9, 0.95)

    def run(method: Ballot | LotteryTicket) -> Callable[[], None]:
        setting = trainer(8)
        model = build("small-cnn", (1, 28, 28), 10)
        steps = Ballot(sparsity=0.95).snapshots(setting.total_steps(some.train))
        dense = train_dense(model, some, setting, steps)

        def whole() -> None:
            model.load_state_dict(dense.final)
            method.run(Run(model, some, setting, dense))

        return whole

    return ratio(
        run(Ballot(sparsity=0.95, levels=levels)),
        run(LotteryTicket(sparsity=0.95, levels=levels)),
        4,
        warm=False,  # the dense runs before have warmed everything up
    )


def moving_masks() -> dict[str, float]:
    """RigL's updates every 100 steps against training under masks that stay, at sparsity 0.9."""
    some = data(25600)  # 200 steps an epoch
    method = SafeCompress(
        sparsity=0.9, interval=100, stop=1.0, branches=("magnitude/gradient-largest",)
    )

    def run(updates: bool) -> Callable[[], None]:
        setting = trainer(1)
        model = build("small-cnn", (1, 28, 28), 10)
        setting.place(model)
        masks = select(scorers.magnitude(method.weights(model)), 0.9, scope="erk")
        parts = Run(model, some, setting, Dense({}, 0, val=None))

        def whole() -> None:
            loop = Loop(setting, model, some.train, stage="speed", masks=masks)
            loop.advance(100)
            if updates:
                (loop.masks,) = method.candidates(loop, masks, parts, 0.5)
            loop.advance(100)

        return whole

    return ratio(run(True), run(False), 7)


def fair_selection() -> dict[str, float]:
    """Selection of a FairGRAPE round among the 11 million weights of a ResNet-18, for 14 cells."""
    shapes = [(64, 3, 7, 7), *[(64, 64, 3, 3)] * 4]
    for width in (128, 256, 512):
        shapes += [(width, width // 2, 3, 3), (width, width // 2, 1, 1)]
        shapes += [(width, width, 3, 3)] * 3
    generator = torch.Generator().manual_seed(0)
    # squared gradients span many orders of magnitude
    importance = {
        f"{i:02d}": torch.randn((14, *shape), generator=generator).mul_(3).exp_()
        for i, shape in enumerate(shapes)
    }
    alive = MaskSet(
        {name: torch.ones_like(v[0], dtype=torch.bool) for name, v in importance.items()}
    )
    keep = {name: round(0.9 * mask.numel()) for name, mask in alive.items()}
    began = time.process_time()
    balanced(importance, keep, alive)
    seconds = time.process_time() - began
    return {
        "ratio": round(seconds / 60, 4),
        "seconds": round(seconds, 4),
        "against seconds": 60.0,
        "weights": alive.n_total,
    }


def learned_masks() -> dict[str, float]:
    """An epoch of BiFP's iterations against an epoch of plain steps, at sparsity 0.9."""
    some = data(2560)
    method = Bifp(sparsity=0.9)

    def learn() -> None:
        _, *loops = method.loops(build("small-cnn", (1, 28, 28), 10), some, trainer(1), 0, 20)
        for _ in in_turn(*loops):
            pass

    def plain() -> None:
        for _ in Loop(trainer(1), build("small-cnn", (1, 28, 28), 10), some.train, stage="speed"):
            pass

    return ratio(learn, plain, 15)


def searched_subnet() -> dict[str, float]:
    """Fair Scratch Tickets' steps against plain ones, in a ResNet-18 for images of 32 x 32."""
    try:
        from torchvision.models import resnet18
    except ImportError:
        raise SystemExit('torchvision is missing: pip install "fairsparse[vision]"') from None
    some = data(512, (3, 32, 32))
    model = resnet18(num_classes=10)
    model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    method = FairScratch(sparsity=0.5)
    weights = method.weights(model)
    sizes = select(scorers.magnitude(weights), method.sparsity, scope="layerwise")
    counts = {name: int(sizes[name].sum()) for name in weights}
    subnet = Subnet(model, counts, method.granularity, torch.Generator().manual_seed(0))

    def steps(network: nn.Module) -> Callable[[], None]:
        def run() -> None:
            for p in model.parameters():
                p.requires_grad_(network is model)
            for _ in Loop(trainer(1), network, some.train, stage="speed"):
                pass

        return run

    return ratio(steps(subnet), steps(model), 7)


MEASURES = {
    "masked step / plain step": (1.03, masked_step),
    "conflict measurement / epoch": (0.05, conflict_round),
    "Ballot search / LTH search": (1.10, search),
    "moving masks / masks that stay": (1.05, moving_masks),
    "FairGRAPE selection / a minute": (1.0, fair_selection),
    "bifp iteration / plain step": (2.1, learned_masks),
    "fair-scratch step / plain step, ResNet-18": (1.15, searched_subnet),
}


def arguments(parser: ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--only", nargs="+", default=list(MEASURES), choices=list(MEASURES))


def main(args: Namespace) -> None:
    """Measure what is asked for, print it, and put it into results/speed.json."""
    torch.set_num_threads(1)
    for name in args.only:
        goal, measure = MEASURES[name]
        values = {"goal": goal, **measure()}
        print(name, values, flush=True)
        store("speed", {**load("speed"), name: values})
