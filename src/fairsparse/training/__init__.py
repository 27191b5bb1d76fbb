"""Training: a recipe, the trainer that shares it, and the one loop, on Accelerate."""

from fairsparse.training.loop import EpochLog, Loop, cross_entropy
from fairsparse.training.recipe import Recipe, augment
from fairsparse.training.repeatable import State, derive, state_of
from fairsparse.training.trainer import Progress, Trainer

__all__ = [
    "EpochLog",
    "Loop",
    "Progress",
    "Recipe",
    "State",
    "Trainer",
    "augment",
    "cross_entropy",
    "derive",
    "state_of",
]
