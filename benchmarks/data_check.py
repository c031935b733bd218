"""`data check` on generated files of 10,000 to 1,000,000 rows: seconds, peak memory, planted twins found.

    python benchmarks/data_check.py [--rows 1000000] [--json]

Sentences are drawn from 50,000 made-up words whose frequencies fall as in real text (Zipf), 4 to 24 words long.
Every fiftieth row is a near duplicate of the row before it: other case, other punctuation, one word in ten replaced.
Each size runs in a process of its own; its peak is what the kernel says (imports alone are shown beside it).
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

TWIN_EVERY = 50
NUM_WORDS, NUM_LABELS = 50_000, 12


def write_rows(path: Path, num_rows: int, seed: int = 0) -> int:
    """Write the file; the number of planted twins."""
    draw = np.random.default_rng(seed)
    syllables = np.array(
        ["ka", "lo", "mi", "ten", "sur", "pa", "ri", "vo", "de", "gal", "nu", "fes", "or", "bi", "hu", "xe"]
    )
    vocabulary = ["".join(draw.choice(syllables, draw.integers(1, 5))) for _ in range(NUM_WORDS)]
    weights = 1.0 / (np.arange(NUM_WORDS) + 10)
    cumulated = np.cumsum(weights / weights.sum())
    num_twins = 0
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        previous: list[str] = []
        for row in range(num_rows):
            if row % TWIN_EVERY == TWIN_EVERY - 1:
                words, num_twins = list(previous), num_twins + 1
                for place in draw.choice(len(words), max(1, len(words) // 10), replace=False):
                    words[place] = vocabulary[draw.integers(NUM_WORDS)]
                text = ", ".join([" ".join(words[:3]).upper(), " ".join(words[3:])]) + "!"
            else:
                chosen = np.minimum(np.searchsorted(cumulated, draw.random(draw.integers(4, 25))), NUM_WORDS - 1)
                previous = [vocabulary[index] for index in chosen]
                text = " ".join(previous)
            writer.writerow([text, f"class {row // TWIN_EVERY % NUM_LABELS}"])
    return num_twins


def measure(path: Path) -> dict[str, float]:
    """Seconds, peak memory in MiB, and findings of one check, in this process."""
    from feinschliff.config.data import DataConfig
    from feinschliff.data.quality import check

    before = _peak_mib()
    report = check(DataConfig(train=(str(path),)))
    found = sum(finding.count for finding in report.findings if finding.kind == "near_duplicate")
    return {
        "rows": report.rows,
        "seconds": report.seconds,
        "peak_mib": _peak_mib(),
        "imports_mib": before,
        "found": found,
    }


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Measure each size in a process of its own and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="the largest file")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure)))
        return
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for num_rows in sorted({min(size, given.rows) for size in (10_000, 100_000, given.rows)}):
            path = Path(folder) / "rows.csv"
            planted = write_rows(path, num_rows)
            command = [sys.executable, __file__, "--measure", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            results.append(json.loads(done.stdout) | {"planted": planted, "file_mib": path.stat().st_size / 2**20})
    if given.json:
        print(json.dumps(results))
        return
    print(f"{'rows':>10} {'file MiB':>9} {'seconds':>8} {'peak MiB':>9} {'imports':>8} {'planted':>8} {'found':>7}")
    for one in results:
        print(
            f"{one['rows']:>10,} {one['file_mib']:>9.1f} {one['seconds']:>8.1f} {one['peak_mib']:>9.0f} "
            f"{one['imports_mib']:>8.0f} {one['planted']:>8,} {one['found']:>7,}"
        )


if __name__ == "__main__":
    main()
