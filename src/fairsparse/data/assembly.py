"""From inputs and labels to a task: arrays, tables of features, image files, texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fairsparse.core import InputError
from fairsparse.data.files.features import encode_table
from fairsparse.data.files.images import Decoder, ImageFiles, undecodable
from fairsparse.data.files.rows import Rows
from fairsparse.data.files.tokens import Tokenization, Tokens, encode_texts
from fairsparse.data.labels import Labels
from fairsparse.data.splits import Assigned, Held, Parts, in_order
from fairsparse.data.task import SPLITS, Split, Standardize, Task, Transform


def assemble(
    name: str,
    x: Tensor | Rows,
    labels: Labels,
    parts: Parts,
    notes: str = "",
    transform: Transform | None = None,
) -> Task:
    """Return the task whose inputs `x` hold the four splits one after another.

    Images, uint8 ``(N, channels, H, W)``, are standardized with constants of the train split, where
    no other `transform` is given.
    """
    sizes = [len(parts[split]) for split in SPLITS]
    pieces: Sequence[Tensor | Rows]
    if isinstance(x, Tensor):
        pieces = x.split(sizes)  # views: large sets are held once
    else:
        pieces = [x.select(span) for span in torch.arange(len(x)).split(sizes)]
    is_image = not isinstance(x, Tensor) or x.dtype == torch.uint8
    if transform is None and is_image and sizes[0]:
        transform = Standardize.images(pieces[0])
    y, group = torch.from_numpy(labels.y), torch.from_numpy(labels.group)
    train, cal, val, test = (
        Split(piece, y[parts[split]], group[parts[split]], transform)
        for split, piece in zip(SPLITS, pieces, strict=True)
    )
    names = (labels.class_names, labels.group_names, labels.attributes)
    return Task(name, train, cal, val, test, *names, notes)


def table_task(
    name: str,
    frame: pd.DataFrame,
    target: str,
    groups: Sequence[str],
    features: pd.DataFrame,
    held: Held,
    assigned: Assigned = Assigned(),
    categorical: Sequence[str] | None = None,
) -> Task:
    """Make the task of a table that has the columns `target` and `groups`.

    All columns of `features` are inputs; those in `categorical` hold categories, or those without
    numbers when absent.
    """
    labels = Labels.of_columns(name, frame, target, groups)
    parts = held.divide(labels.y, labels.group, assigned)
    x, about = encode_table(name, features, categorical, parts["train"], in_order(parts))
    return assemble(name, x, labels, parts, transform=about)


def image_task(
    name: str,
    frame: pd.DataFrame,
    target: str,
    groups: Sequence[str],
    images: ImageFiles,
    held: Held,
    assigned: Assigned = Assigned(),
    notes: str = "",
) -> Task:
    """Make the task of a table with one row for each image file, whose index has the paths.

    `notes` say what was left out before.
    """
    files = list(frame.index)
    if images.skip_bad_images:
        bad = undecodable(Decoder(name, images), files)
        if len(bad) == len(files):
            raise InputError(
                f"{name}: none of the {len(files)} images decodes (first: {files[0]}); check that"
                " path is where they are"
            )
        if bad:
            named = ", ".join(files[i].name for i in bad[:5]) + (", ..." if len(bad) > 5 else "")
            left_out = f"images do not decode and were left out: {named}."
            notes = f"{notes} {len(bad)} of {len(files)} {left_out}".strip()
            keep = np.delete(np.arange(len(files)), bad)
            frame, assigned = frame.iloc[keep], assigned.at(keep)
            files = list(frame.index)
    labels = Labels.of_columns(name, frame, target, groups)
    parts = held.divide(labels.y, labels.group, assigned)
    return assemble(name, images.read(name, files, in_order(parts)), labels, parts, notes)


def text_task(
    name: str, texts: Sequence[str], labels: Labels, parts: Parts, tokenization: Tokenization
) -> Task:
    """Make the task of texts whose examples are divided."""
    tokenizer = tokenization.tokenizer_of(name, [texts[i] for i in parts["train"]])
    ordered = [texts[i] for i in in_order(parts)]
    x, cut = encode_texts(tokenizer, ordered, tokenization.max_length)
    size = tokenizer.get_vocab_size()
    notes = (
        f"{size} tokens; {cut} of {len(ordered)} texts are longer than"
        f" {tokenization.max_length} tokens and were cut."
    )
    task = assemble(name, x, labels, parts, notes, Tokens(size, tokenizer))
    tokenization.save(name, tokenizer)
    return task
