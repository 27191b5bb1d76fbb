"""Methods: each one file, each the difference to the shared training loop."""

from fairsparse.methods import ballot, dense, lth, magnitude
from fairsparse.methods.base import METHODS, Dense, Method, Outcome, train_dense

__all__ = [
    "METHODS",
    "Dense",
    "Method",
    "Outcome",
    "ballot",
    "dense",
    "lth",
    "magnitude",
    "train_dense",
]
