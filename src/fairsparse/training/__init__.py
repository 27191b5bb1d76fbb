"""Training: a recipe, the trainer that shares it, and the one loop, on Accelerate."""

from fairsparse.training.loop import Loop, Point, cross_entropy, in_turn
from fairsparse.training.recipe import Recipe, augment
from fairsparse.training.repeatable import State, between, derive, state_of
from fairsparse.training.tally import EpochLog
from fairsparse.training.trainer import Progress, Trainer

__all__ = [
    "EpochLog",
    "Loop",
    "Point",
    "Progress",
    "Recipe",
    "State",
    "Trainer",
    "augment",
    "between",
    "cross_entropy",
    "derive",
    "in_turn",
    "state_of",
]
