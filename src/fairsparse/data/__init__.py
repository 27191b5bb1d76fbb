"""Data sets: each builder returns a `Task`; its signature is its configuration."""

from fairsparse.data import own, sets  # noqa: F401
from fairsparse.data.own.task import task
from fairsparse.data.registry import DATASETS, dataset
from fairsparse.data.splits import Held
from fairsparse.data.task import Split, Standardize, Task, TrainData

__all__ = ["DATASETS", "Held", "Split", "Standardize", "Task", "TrainData", "dataset", "task"]
