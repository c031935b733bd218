"""The data sets of the benchmarks, read from a folder given by the person: banking77 (csv) and SST-2 (tsv).

<data-dir>/banking77/{train,test}.csv        text,category
<data-dir>/sst2/{train,dev,test}.tsv         text<TAB>label, no header
"""

from __future__ import annotations

import argparse
from pathlib import Path

NAMES = ("banking77", "sst2")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--data-dir``, ``--model``, ``--sets``."""
    parser.add_argument("--data-dir", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--model", default="minilm-l6", help="anything `feinschliff models pull` takes")
    parser.add_argument("--sets", nargs="+", choices=NAMES, default=list(NAMES))


def files(data_dir: Path, name: str) -> dict[str, tuple[str, ...]]:
    """Files of a set by role; a set that is missing ends the benchmark with a sentence."""
    roles = {"train": "train.csv", "test": "test.csv"}
    if name == "sst2":
        roles = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
    found = {role: data_dir / name / file for role, file in roles.items()}
    missing = [str(path) for path in found.values() if not path.exists()]
    if missing:
        raise SystemExit(f"not there: {', '.join(missing)} (see benchmarks/sets.py)")
    return {role: (str(path),) for role, path in found.items()}
