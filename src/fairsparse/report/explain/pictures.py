"""Heat maps for people: laid over images, behind words, or as numbers beside features."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from PIL import Image
from torch import Tensor

from fairsparse.data.files.features import Features
from fairsparse.data.files.images import pixels
from fairsparse.data.files.tokens import Tokens
from fairsparse.data.task import Transform
from fairsparse.explain.explanation import DENSE, NETWORKS, PRUNED, Explanation, Shown
from fairsparse.fairness.measure.counts import Array
from fairsparse.report import phrases
from fairsparse.report.page import Block, Part, Picture
from fairsparse.report.phrases import number, percent
from fairsparse.report.table import Entry, Table

COLOURS = "viridis"
"""Dark to light in equal steps, for people who see fewer colours too."""
_SIDES = (128, 224)
"""Pixels of a picture's longer side, at least and at most."""
_MOST = 8
_STRONGEST = 55
"""Per cent of colour behind the strongest word: text on it stays readable."""


def examples(explanation: Explanation) -> list[Part]:
    """How to read the maps, and the examples that are shown with theirs; or why there are none."""
    if explanation.shown:
        parts = [part for example in explanation.shown for part in _example(example, explanation)]
        return [legend(explanation.shown[0].x), *parts]
    if explanation.flips:
        return ["No test example is shown: none was asked for."]
    why = "the pruned network gets everything right that the dense one does."
    return [f"No test example is shown: {why}"]


def _example(example: Shown, explanation: Explanation) -> list[Part]:
    heading = Block("heading", caption(example))
    if _is_image(example.x) and example.maps[DENSE].ndim == 2:
        return [heading, _images(example)]
    if isinstance(example.x, Mapping) or not example.x.is_floating_point():
        return [heading, *_texts(example, explanation.transform)]
    return [_features(example, explanation.transform)]


def _is_image(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dim() == 3


def caption(example: Shown) -> str:
    """What the example is and what became of it."""
    about = f"class {example.y}" + ("" if example.group is None else f", group {example.group}")
    return f"Test example {example.index:,}: {about}. The maps are about class {example.target}."


def _label(example: Shown, network: str) -> str:
    """What a network predicts, and how its map goes with the dense network's."""
    name, share = example.predicted[network]
    text = f"{network}: {name}, {percent(share, 0)}"
    if network == DENSE:
        return text
    if phrases.defined(correlation := example.correlation[network]):
        return f"{text}; correlation {number(correlation, '.2f')}"
    return f"{text}; a map is the same everywhere, no correlation"


def _images(example: Shown) -> Block:
    image = pixels(example.x)
    title = f"test example {example.index:,}, class {example.y}"
    pictures = [Picture("image", data_uri(image), f"The image of {title}.")]
    for network in NETWORKS:
        heat = np.abs(example.maps[network])
        label = _label(example, network)
        alternative = f"Heat map of {title}; {label}; {_where(heat)}."
        pictures.append(Picture(label, data_uri(image, heat), alternative))
    return Block("maps", pictures)


def data_uri(image: Array, heat: Array | None = None) -> str:
    """Pixels, uint8 (H, W, 3), as a PNG within a page, with a heat map (H, W) laid over them.

    Small ones are made larger, so that they can be seen, and large ones smaller.
    """
    side = max(image.shape[:2])
    times = max(1, -(-_SIDES[0] // side)) if side < _SIDES[0] else min(1.0, _SIDES[1] / side)
    size = (round(image.shape[1] * times), round(image.shape[0] * times))
    how = Image.Resampling.NEAREST if times >= 1 else Image.Resampling.BILINEAR
    picture = Image.fromarray(np.ascontiguousarray(image)).resize(size, how)
    if heat is not None:
        grey = np.asarray(picture.convert("L"), float)[..., None] / 255
        strength = heat / heat.max() if heat.max() > 0 else heat
        wide = Image.fromarray(strength.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
        colours = matplotlib.colormaps[COLOURS](np.clip(np.asarray(wide), 0, 1))[..., :3]
        both = 0.4 * grey + 0.6 * colours
        picture = Image.fromarray((both * 255).round().astype(np.uint8))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _where(heat: Array) -> str:
    """Where a map is strongest, for those who do not see it.

    >>> _where(np.array([[0, 0, 0], [0, 0, 0], [0, 0, 1.0]])), _where(np.zeros((3, 3)))
    ('strongest at the lower right', 'the same everywhere')
    """
    if heat.max() == heat.min():
        return "the same everywhere"
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    down = ("upper", "middle", "lower")[int(3 * row / heat.shape[0])]
    across = ("left", "centre", "right")[int(3 * column / heat.shape[1])]
    return f"strongest at the {down} {across}"


def _texts(example: Shown, transform: Transform | None) -> list[Part]:
    ids = example.x
    if isinstance(ids, Mapping):
        ids = ids.get("input_ids", next(iter(ids.values())))
    ids = ids[: len(example.maps[DENSE])]
    tokens = transform if isinstance(transform, Tokens) else Tokens(0)
    pieces = tokens.pieces(ids[ids >= 0])
    parts: list[Part] = []
    for network in NETWORKS:
        values = example.maps[network][: len(pieces)]
        largest = max(float(np.nanmax(np.abs(values), initial=0)), 1e-30)
        words = [_word(t, float(v), largest) for t, v in zip(pieces, values, strict=True)]
        parts += [Block("said", _label(example, network)), Block("textmap", words)]
    return parts


class Word(NamedTuple):
    """A piece of a text: what it adds, ``for`` or ``against``, and how strongly in per cent."""

    text: str
    value: str = ""
    way: str = ""
    strength: int = 0


def _word(text: str, value: float, largest: float) -> Word:
    if not np.isfinite(value):  # a special token
        return Word(text)
    strength = round(_STRONGEST * abs(value) / largest)
    way = "" if strength == 0 else "for" if value > 0 else "against"
    return Word(text, number(value, "+.3g"), way, strength)


def _features(example: Shown, transform: Transform | None) -> Table:
    maps = {network: example.maps[network].reshape(-1) for network in NETWORKS}
    values = example.x.float().reshape(-1).tolist()
    strength = np.max([np.abs(m) / max(np.abs(m).max(), 1e-30) for m in maps.values()], axis=0)
    features = transform if isinstance(transform, Features) else None
    rows: list[list[Entry]] = []
    for i in np.argsort(-strength, kind="stable")[:_MOST].tolist():
        name = features.names[i] if features else f"feature {i + 1}"
        value = features.value(i, values[i]) if features else number(values[i], ".4g")
        rows.append([name, value, *(number(m[i], "+.3g") for m in maps.values())])
    head = ["feature", "value", *(_label(example, network) for network in NETWORKS)]
    title = f"{caption(example)} The {len(rows)} features that count most for any network."
    return Table(title, head, rows, text=(1,))


def legend(x: Any) -> str:
    """How to read the pictures of this kind of input."""
    if _is_image(x):
        return (
            "Left to right: the image, then the maps of the dense network, of its weights under a"
            f" random mask, and of the {PRUNED} network. Colours run from dark violet, nothing, to"
            " yellow, the strongest part of that map; strengths of two maps are not on one scale."
        )
    if isinstance(x, Tensor) and x.is_floating_point():
        return (
            "Numbers are what a feature adds to the score of the class: positive speaks for it,"
            " negative against."
        )
    return (
        "Colour behind a word is how much it adds to the score of the class: orange speaks for it,"
        " blue with a dotted line against. The number is in the word's title. The strongest word"
        " of each network has the same colour; special tokens have none."
    )
