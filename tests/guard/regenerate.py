"""Write golden files anew: ``python tests/guard/regenerate.py NAME ...``.

Legitimate only when numbers were meant to change: an option got another default, a method or a
measure was mended, a record got another shape, or the packages that compute were replaced. Name
the files that this touches and no other, and say in the changelog what changed. Never to make a
move, a renaming or a tidied function pass: there the guard is right and the change is not.
"""

from __future__ import annotations

import sys

import cases
import golden_files


def main(names: list[str]) -> None:
    """Write the named files and print what is another than before."""
    files = cases.files()
    if not names or set(names) - set(files):
        sys.exit(f"name the golden files to write: {' '.join(files)}")
    for name in names:
        content, allowed = cases.present(name), []
        if (golden_files.FOLDER / f"{name}.json").exists():
            before = golden_files.read(name)
            allowed = before["allowed"]
            for line in golden_files.differences(before["content"], content, bits=True):
                print(f"{name}: {line}")
        golden_files.write(name, content, allowed)


if __name__ == "__main__":
    main(sys.argv[1:])
