"""Which rows a run held out, kept beside it: the test rows themselves and every dropped row with its reason.

Knows no file format of the person's: it writes JSON lines and CSV.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from feinschliff.data.conversations import as_json, from_json
from feinschliff.data.examples import Answer, Example, Place, Splits
from feinschliff.data.images import ImageRef
from feinschliff.data.spans import Span
from feinschliff.errors import RunDirectoryError
from feinschliff.results.data import DroppedRow
from feinschliff.store.run_directory import RunDirectory, write_bytes


def write(directory: RunDirectory, splits: Splits) -> None:
    """Write ``held_out.jsonl`` (the test rows) and ``dropped.csv``."""
    lines = [
        json.dumps(
            {
                "texts": example.texts,
                "labels": example.labels,
                "values": example.values,
                "numbers": example.numbers,
                "image": example.image and example.image.path,
                "spans": [[span.start, span.end, span.label] for span in example.spans],
                "answers": None if example.answers is None else [[one.start, one.end] for one in example.answers],
                "references": example.references,
                "conversation": example.conversation and as_json(example.conversation),
                "file": example.place.file,
                "line": example.place.line,
            },
            ensure_ascii=False,
        )
        for example in splits.test
    ]
    write_bytes(directory.splits, ("\n".join(lines) + "\n").encode())
    write_bytes(directory.dropped, dropped_csv(splits.dropped))


def dropped_csv(dropped: Sequence[DroppedRow]) -> bytes:
    """``file,line,reason,text`` of every dropped row."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["file", "line", "reason", "text"])
    for row in dropped:
        writer.writerow([row.file, row.line, row.reason, row.text])
    return out.getvalue().encode()


def read(directory: RunDirectory) -> list[Example]:
    """The test rows of a run.

    Raises:
        RunDirectoryError: the run has none.
    """
    path: Path = directory.splits
    if not path.exists():
        raise RunDirectoryError(f"{directory.path} holds no test rows", remedy="name a file to evaluate on")
    examples = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        place = Place(row["file"], row["line"])
        spans = tuple(Span(*span) for span in row["spans"])
        answers = None if row["answers"] is None else tuple(Answer(*one) for one in row["answers"])
        image = ImageRef(row["image"]) if row.get("image") else None
        read = Example(tuple(row["texts"]), tuple(row["labels"]), place, values=tuple(row["values"]), spans=spans)
        references, numbers = tuple(row.get("references", ())), tuple(row.get("numbers", ()))
        chat = row.get("conversation")
        read = replace(read, conversation=None if chat is None else from_json(chat))
        examples.append(replace(read, answers=answers, image=image, references=references, numbers=numbers))
    return examples
