"""Data sets: each builder returns a `Task`; its signature is its configuration."""

from fairsparse.data import (
    bundled,
    faces,
    image_files,
    images,
    lfw,
    people,
    tabular,
    text,
    tiny_imagenet,
)
from fairsparse.data.builders import DATASETS
from fairsparse.data.own import task
from fairsparse.data.task import Split, Standardize, Task, TrainData

__all__ = [
    "DATASETS",
    "Split",
    "Standardize",
    "Task",
    "TrainData",
    "bundled",
    "faces",
    "image_files",
    "images",
    "lfw",
    "people",
    "tabular",
    "task",
    "text",
    "tiny_imagenet",
]
