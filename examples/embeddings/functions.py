"""Write a csv of what functions do and how they are called, read from the docstrings of installed libraries.

    python examples/embeddings/functions.py functions.csv

``query`` is the first sentence of a docstring, ``passage`` the call: ``scipy.signal.butter(N, Wn, btype)``.
"""

from __future__ import annotations

import csv
import importlib
import inspect
import pkgutil
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType

LIBRARIES = ("numpy", "scipy", "sklearn")
FEWEST_WORDS = 4


def modules(library: str) -> Iterator[ModuleType]:
    """The public modules of a library, two levels deep."""
    root = importlib.import_module(library)
    yield root
    for found in pkgutil.iter_modules(root.__path__, f"{library}."):
        if not any(part.startswith("_") for part in found.name.split(".")) and "test" not in found.name:
            try:
                yield importlib.import_module(found.name)
            except ImportError as error:
                print(f"left out: {error}", file=sys.stderr)


def rows(module: ModuleType) -> Iterator[tuple[str, str]]:
    """First sentence and call of each public function and class that is documented."""
    for name, thing in vars(module).items():
        if name.startswith("_") or not (inspect.isroutine(thing) or inspect.isclass(thing)):
            continue
        sentence = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
        try:
            arguments = [key for key in inspect.signature(thing).parameters if key not in ("args", "kwargs", "self")]
        except (TypeError, ValueError):
            continue
        if len(sentence.split()) >= FEWEST_WORDS and name not in sentence:
            yield sentence, f"{module.__name__}.{name}({', '.join(arguments)})"


def main() -> None:
    """Each sentence once, each call once."""
    warnings.simplefilter("ignore")
    found: dict[str, str] = {}
    for library in LIBRARIES:
        for module in modules(library):
            for sentence, call in rows(module):
                found.setdefault(sentence, call)
    with open(sys.argv[1], "w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([("query", "passage"), *found.items()])
    print(f"{sys.argv[1]}: {len(found)} functions")


if __name__ == "__main__":
    main()
