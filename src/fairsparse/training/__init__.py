"""Training: a recipe, the trainer that shares it, and the one loop, on Accelerate."""

from fairsparse.training.loop import Loop, cross_entropy, in_turn
from fairsparse.training.recipe import Recipe, augment
from fairsparse.training.run import Chain, Dense, Round, Run, rewind_step, train_dense
from fairsparse.training.tally import EpochLog, Point
from fairsparse.training.trainer import Progress, State, Trainer, between, derive, state_of

__all__ = [
    "Chain",
    "Dense",
    "EpochLog",
    "Loop",
    "Point",
    "Progress",
    "Recipe",
    "Round",
    "Run",
    "State",
    "Trainer",
    "augment",
    "between",
    "cross_entropy",
    "derive",
    "in_turn",
    "rewind_step",
    "state_of",
    "train_dense",
]
