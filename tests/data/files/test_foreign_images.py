"""Images from elsewhere: few formats are opened, and sizes are known before memory is taken."""

from __future__ import annotations

import struct
import subprocess
import threading
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import EpsImagePlugin, Image

from fairsparse.core import InputError
from fairsparse.data.files.images import Decoder, ImageFiles, Streamed, load_images, stored_images

DECODE = Decoder("x")
ENDINGS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "BMP": "bmp", "GIF": "gif", "TIFF": "tif"}


def blank(path: Path, width: int, height: int) -> Path:
    """A PNG of zeros that is small whatever its sides are."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + width)) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return path


@pytest.mark.parametrize("kind", [*ENDINGS, "PPM"])
def test_the_usual_formats_are_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ENDINGS.get(kind, 'ppm')}"
    Image.new("RGB", (6, 4), (200, 10, 10)).save(path, kind)
    assert DECODE(path).shape == (3, 4, 6)
    assert abs(int(DECODE(path)[0, 0, 0]) - 200) < 8


@pytest.mark.parametrize("kind", ["EPS", "PCX", "ICO", "TGA", "PDF", "JPEG2000", "MPO"])
def test_other_formats_are_not_opened_whatever_they_are_called(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*args: object, **more: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "check_call", started)
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", started)
    path = tmp_path / "bad.png"
    with path.open("wb") as file:
        Image.new("RGB", (6, 4)).save(file, kind)
    if kind == "MPO":  # which is a JPEG as well
        assert DECODE(path).shape == (3, 4, 6)
        return
    with pytest.raises(InputError, match=r"bad\.png cannot be decoded .*PNG, JPEG, WEBP"):
        DECODE(path)


@pytest.mark.parametrize("way", ["memory", "cache", "stream"])
def test_sizes_are_compared_before_anything_is_decoded(way: str, tmp_path: Path) -> None:
    files = [blank(tmp_path / "0.png", 9000, 9000)]
    files += [blank(tmp_path / f"{i}.png", 64, 64) for i in range(1, 60)]
    reading: dict[str, Callable[[], object]] = {
        "memory": lambda: load_images(DECODE, files),
        "cache": lambda: stored_images(DECODE, files, tmp_path / "cache"),
        "stream": lambda: Streamed(DECODE, files, torch.arange(60)).rows(torch.arange(60)),
    }
    tracemalloc.start()
    with pytest.raises(InputError, match=r"differ in size: .*0\.png is 9000x9000, .*1\.png is 64x"):
        reading[way]()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**26  # decoded, the first alone takes 3 x 81 MB
    assert not list(tmp_path.glob("cache/*.rows"))


def test_an_image_that_unfolds_to_too_much_is_not_decoded(tmp_path: Path) -> None:
    path = blank(tmp_path / "bomb.png", 9000, 9000)
    assert path.stat().st_size < 2**20
    for images in (ImageFiles(), ImageFiles(size=8)):
        with pytest.raises(InputError, match=r"bomb\.png has 81,000,000 pixels, and at most 67"):
            load_images(Decoder("x", images), [path])


def test_large_images_are_decoded_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [blank(tmp_path / f"{i}.png", 4200, 4200) for i in range(3)]
    inside, most, convert = threading.Semaphore(0), [], Image.Image.convert

    def watched(image: Image.Image, *args: object) -> Image.Image:
        inside.release()
        most.append(inside._value)
        done = convert(image, *args)  # type: ignore[arg-type]
        inside.acquire()
        return done

    monkeypatch.setattr(Image.Image, "convert", watched)
    small = load_images(Decoder("x", ImageFiles(size=8)), files)
    assert small.shape == (3, 3, 8, 8)
    assert most == [1, 1, 1]
