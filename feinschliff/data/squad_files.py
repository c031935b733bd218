"""Files nested as SQuAD's (articles, paragraphs, questions) laid flat: a row a question. Knows no answer."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from feinschliff.data.examples import Place
from feinschliff.data.tables import Cell, Row, Table

COLUMNS = ("id", "title", "context", "question", "answers", "is_impossible")
_SAMPLE_ROWS = 20


def is_nested(table: Table) -> bool:
    """Whether rows are articles: lists of paragraphs with a text and questions."""
    if "paragraphs" not in table.columns:
        return False
    sample = islice(table.read(), _SAMPLE_ROWS)
    return any(
        isinstance(part, dict) and isinstance(part.get("qas"), list)
        for row in sample
        if isinstance(paragraphs := row.cells.get("paragraphs"), list)
        for part in paragraphs
    )


def flat(table: Table) -> Table:
    """The same questions as rows of their own, known by their number in the file.

    What is not nested as it should be becomes a row that lacks what is missing, so that it is told and not lost.
    """
    wanted = Table(table.name, list(COLUMNS), lambda: _rows(table), list(table.announcements), ".jsonl")
    wanted.announce(f"{table.name}: nested as SQuAD; the number after the file name counts questions")
    return wanted


def _rows(table: Table) -> Iterator[Row]:
    count = 0
    for article in table.read():
        for cells in _questions(article.cells.get("title"), article.cells.get("paragraphs")):
            count += 1
            yield Row(cells, Place(table.name, count))


def _questions(title: Cell, paragraphs: Cell) -> Iterator[dict[str, Cell]]:
    for paragraph in paragraphs if isinstance(paragraphs, list) else [None]:
        inside = paragraph if isinstance(paragraph, dict) else {}
        context, questions = inside.get("context"), inside.get("qas")
        for question in questions if isinstance(questions, list) else [None]:
            cells = question if isinstance(question, dict) else {}
            yield {
                "id": cells.get("id"),
                "title": title,
                "context": context,
                "question": cells.get("question"),
                "answers": cells.get("answers"),
                "is_impossible": bool(cells.get("is_impossible", False)),
            }
