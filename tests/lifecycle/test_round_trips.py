"""What `data clean` and `data split` write of each kind of rows is read again, from anywhere, as the same rows."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from feinschliff.config.data import DataConfig
from feinschliff.data.examples import Example
from feinschliff.data.load import open_with_columns
from feinschliff.data.row_kinds import reader_of
from feinschliff.data.sources import read_tables
from feinschliff.lifecycle.data import clean, split

WORDS = ["film", "book", "card", "bank", "order", "late", "train", "city", "food", "house", "my", "new"]


def sentence(rng: random.Random, number: int) -> list[str]:
    return [*rng.choices(WORDS, k=7), f"anna{number}"]


def conll(folder: Path) -> Path:
    """Three columns, a document border, and entities of two types."""
    rng = random.Random(0)
    blocks = ["-DOCSTART- -X- O\n\n"]
    for number in range(40):
        words = sentence(rng, number)
        tags = ["O"] * 5 + ["B-PLACE", "I-PLACE", "B-PER"]
        blocks.append("".join(f"{word} NN {tag}\n" for word, tag in zip(words, tags, strict=True)) + "\n")
    return written(folder / "rows.conll", "".join(blocks))


def squad(folder: Path) -> Path:
    """SQuAD 2: a title, two questions a text, one of them without an answer."""
    rng = random.Random(0)
    paragraphs = []
    for number in range(20):
        words = sentence(rng, number)
        context = " ".join(words)
        answer = {"text": words[-1], "answer_start": context.index(words[-1])}
        asked = {"id": f"a{number}", "question": f"who is {number}", "answers": [answer], "is_impossible": False}
        vain = {"id": f"b{number}", "question": f"why is {number}", "answers": [], "is_impossible": True}
        paragraphs.append({"context": context, "qas": [asked, vain]})
    articles = [{"title": f"t{number}", "paragraphs": [one]} for number, one in enumerate(paragraphs)]
    return written(folder / "rows.json", json.dumps({"version": "2.0", "data": articles}))


def pairs(folder: Path) -> Path:
    """Several positives and negatives in a row."""
    rng = random.Random(0)
    rows = []
    for number in range(40):
        texts = [" ".join(sentence(rng, 10 * number + part)) for part in range(5)]
        rows.append({"anchor": texts[0], "positive": texts[1:3], "negatives": texts[3:], "id": number})
    return written(folder / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def pairs_in_columns(folder: Path) -> Path:
    """A column for each negative, one of them empty; texts with commas and line ends."""
    rng = random.Random(0)
    texts = [[" ".join(sentence(rng, 10 * number + part)) for part in range(4)] for number in range(40)]
    lines = [f'"{one}, so","{two}\nyes",{three},{four if row % 2 else ""}'
             for row, (one, two, three, four) in enumerate(texts)]  # fmt: skip
    return written(folder / "rows.csv", "\n".join(["query,positive,negative_1,negative_2", *lines]) + "\n")


def image_folder(folder: Path) -> Path:
    """Two classes of noise."""
    rng = np.random.default_rng(0)
    for label in ("left", "right"):
        (folder / "rows" / label).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "rows" / label / f"{number}.png")
    return folder / "rows"


def images_beside(folder: Path) -> Path:
    """A csv that names images by their paths from itself."""
    images = image_folder(folder)
    lines = [f"rows/{file.parent.name}/{file.name},{file.parent.name}" for file in sorted(images.rglob("*.png"))]
    return written(folder / "index.csv", "\n".join(["image,label", *lines]) + "\n")


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def read(paths: Iterable[str]) -> list[Example]:
    """The rows of files as a run sees them."""
    config = DataConfig(train=tuple(paths))
    tables, columns = open_with_columns(config.train, config)
    reader = reader_of(columns)
    found = list(reader.read(read_tables(tables)))
    assert reader.dropped == []
    return found


def facts(examples: list[Example]) -> list[tuple[object, ...]]:
    """All that a task learns from, in an order of its own."""
    rows = [
        (row.image.digest if row.image else row.texts, row.labels, row.spans, row.answers, row.group)
        for row in examples
    ]
    return sorted(rows, key=repr)


KINDS = [conll, squad, pairs, pairs_in_columns, image_folder, images_beside]


@pytest.mark.parametrize("made", KINDS, ids=lambda made: made.__name__)
@pytest.mark.parametrize("relative", [True, False], ids=["named from here", "named from the root"])
def test_what_is_written_is_read_again(
    made: object, relative: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after the person went elsewhere, and the folder of all of it was moved."""
    desk = tmp_path / "desk"
    desk.mkdir()
    monkeypatch.chdir(desk)
    source = made(desk)  # type: ignore[operator]
    source = source.relative_to(desk) if relative else source
    before = facts(read([str(source)]))
    assert len(before) >= 40
    cleaned = clean(DataConfig(train=(str(source),)), Path("clean") / f"rows{_suffix(source)}")
    parts = split(DataConfig(train=(str(source),)), Path("parts"))
    assert (cleaned.rows_written, cleaned.dropped, parts.dropped) == (cleaned.rows_read, {}, {})
    if relative:
        desk.rename(tmp_path / "moved")
    elsewhere = tmp_path / ("moved" if relative else "desk")
    monkeypatch.chdir(tmp_path)
    assert facts(read([str(elsewhere / cleaned.output)])) == before
    assert facts(read([str(elsewhere / path) for path in parts.files.values()])) == before


def _suffix(source: Path) -> str:
    return {".json": ".jsonl", "": ".csv"}.get(source.suffix, source.suffix)
