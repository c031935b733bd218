"""CoNLL files: a token and its tag a line, a blank line between sentences. Knows no tag scheme beyond its look."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from feinschliff.config.data import DataConfig
from feinschliff.data.delimited import checked_lines, unnamed_columns
from feinschliff.data.encodings import find_encoding, open_bytes, open_text
from feinschliff.data.examples import Place
from feinschliff.data.tables import FaultList, Row, Table, at
from feinschliff.data.tag_schemes import OUTSIDE, is_prefixed
from feinschliff.errors import DataError

SUFFIX = ".conll"
TOKENS, TAGS = "tokens", "tags"
_DOCUMENT = "-DOCSTART-"
_BLANKS = re.compile(r"[ \t]+")  # no other: a no-break space is part of a token
_SAMPLE_LINES, _SAMPLE_CHARACTERS = 2000, 1 << 20
_HEADS = frozenset(("tag", "tags", "ner", "ner_tag", "ner_tags", "label", "labels", "bio", "iob", "entity"))
_LIKELY = 0.9
"""Share of lines that must look like a token with a tag before a .txt or .tsv file is taken for CoNLL."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the lines of a file are made; columns are counted from 0."""

    tabs: bool
    num_columns: int
    token: int
    tag: int
    known_tags: frozenset[str]
    """The tags of the sample; empty where tags are known by their look (``B-PER``)."""

    def cells(self, line: str) -> list[str]:
        """The columns of a line, blanks around them removed."""
        if self.tabs:
            return [cell.strip(" ") for cell in line.rstrip(" \t\r\n").split("\t")]
        return _BLANKS.split(line.strip(" \t\r\n"))

    def is_comment(self, line: str) -> bool:
        """Whether a line that begins with ``#`` is a remark: it has other columns than tokens, or no tag at its end."""
        if not line.startswith("#"):
            return False
        cells = self.cells(line)
        return len(cells) != self.num_columns or not self.is_tag(cells[self.tag])

    def is_tag(self, cell: str) -> bool:
        """Whether a cell is a tag of this file, as far as can be told."""
        return cell in self.known_tags if self.known_tags else cell == OUTSIDE or is_prefixed(cell)


def open_conll(path: Path, name: str, config: DataConfig) -> Table:
    """Open a CoNLL file: rows have ``tokens`` and ``tags``, lists of equal length; a row's line is its first token's.

    The first column holds the token (the second, where the first counts tokens), the last one the tag, or the one that
    ``config.target`` names as ``column_N``.

    Raises:
        DataError: empty, not text, or lines without tags.
    """
    encoding = config.encoding or find_encoding(path)
    with open_text(path, encoding) as file:
        layout, has_header = _find_layout(_sample(file), name, config)
    columns = unnamed_columns(layout.num_columns)
    tags = columns[layout.tag] if config.target == columns[layout.tag] else TAGS
    table = Table(name, [TOKENS, tags], lambda: iter(()), suffix=SUFFIX)
    table.read = lambda: _sentences(path, encoding, layout, has_header, table)
    between = "tabs" if layout.tabs else "blanks"
    table.announce(
        f"{name}: CoNLL, encoding {encoding}, {layout.num_columns} columns with {between} between, "
        f"tokens from column {layout.token + 1}, tags from column {layout.tag + 1}"
    )
    others = [column for place, column in enumerate(columns) if place not in (layout.token, layout.tag)]
    if others:
        table.announce(f"{name}: columns not used: {', '.join(others)} (tags from another one: --target {others[-1]})")
    return table


def looks_like_conll(path: Path, config: DataConfig) -> bool:
    """Whether a file of another suffix (.txt, .tsv) holds tokens and tags: by its lines, nearly all ``token B-TYPE``.

    Tags without ``B-``, ``I-`` ... look like any word: such a file must be named .conll.
    """
    if config.delimiter:
        return False
    with open_bytes(path) as file:
        start = file.read(4096)
    if not start.strip() or (b"\0" in start and not config.encoding and not _is_wide_text(path)):
        return False
    with open_text(path, config.encoding or (find_encoding(path) if b"\0" in start else "utf-8")) as file:
        lines = [line for line in _sample(file) if _is_token_line(line)]
    if len(lines) < 2:
        return False
    layout = _layout(lines, None)
    lines = lines[layout.cells(lines[0])[-1].casefold() in _HEADS :]
    rows = [cells for line in lines if len(cells := layout.cells(line)) == layout.num_columns]
    tags = [cells[-1] for cells in rows if layout.is_tag(cells[-1])]
    single = sum(" " not in cells[layout.token] for cells in rows)
    typed = any("-" in tag for tag in tags)
    return layout.num_columns > 1 and typed and len(tags) >= _LIKELY * len(lines) and single >= _LIKELY * len(rows)


def _is_wide_text(path: Path) -> bool:
    """Whether zeros among the bytes are those of UTF-16 or UTF-32."""
    try:
        return find_encoding(path).startswith(("utf-16", "utf-32"))
    except DataError:
        return False


def _sample(lines: Iterable[str]) -> list[str]:
    taken: list[str] = []
    size = 0
    for line in islice(lines, _SAMPLE_LINES):
        taken.append(line if taken else line.removeprefix("\ufeff"))
        size += len(line)
        if size > _SAMPLE_CHARACTERS:
            break
    return taken


def _is_token_line(line: str) -> bool:
    return not _is_blank(line) and not line.startswith((_DOCUMENT, "#"))


def _is_blank(line: str) -> bool:
    return not line.strip(" \t\r\n")


def _find_layout(sample: list[str], name: str, config: DataConfig) -> tuple[Layout, bool]:
    """The layout, and whether the first line names the columns.

    Raises:
        DataError: no tokens, or most lines are one word alone.
    """
    lines = [line for line in sample if _is_token_line(line)]
    if not lines:
        raise DataError("the file holds no tokens", where=name, remedy="write a token and its tag on each line")
    layout = _layout(lines, config.target)
    if layout.num_columns < 2:
        raise DataError("most lines hold a token and no tag", where=name, why=f"such as {lines[0].strip()[:60]!r}",
                        remedy="write the tag behind each token, after a blank or a tab")  # fmt: skip
    counted = layout.num_columns > 2 and _counts_tokens(sample, layout)
    tags = [cells[layout.tag] for line in lines if len(cells := layout.cells(line)) == layout.num_columns]
    head = tags[0].casefold() in _HEADS and tags.count(tags[0]) == 1
    has_header = config.header == "yes" or (config.header == "auto" and head)
    shaped = sum(tag == OUTSIDE or is_prefixed(tag) for tag in tags) > 0.5 * len(tags) and any(map(is_prefixed, tags))
    return replace(
        layout, token=int(counted), known_tags=frozenset() if shaped else frozenset(tags[has_header:])
    ), has_header


def _layout(lines: Sequence[str], target: str | None) -> Layout:
    """Separator and columns, without a look at what stands in them."""
    tabs = sum("\t" in line.strip() for line in lines) >= 0.5 * len(lines)
    probe = Layout(tabs, 0, 0, -1, frozenset())
    num_columns = Counter(len(probe.cells(line)) for line in lines).most_common(1)[0][0]
    names = unnamed_columns(num_columns)
    tag = names.index(target) if target in names else num_columns - 1
    return Layout(tabs, num_columns, 0, tag, frozenset())


def _counts_tokens(sample: Sequence[str], layout: Layout) -> bool:
    """Whether the first column is 0, 1, 2 ... or 1, 2, 3 ... in each sentence."""
    place, first = 0, None
    for line in sample:
        if not _is_token_line(line):
            place = 0 if _is_blank(line) else place
            continue
        cells = layout.cells(line)
        if first is None and cells[0] in ("0", "1"):
            first = int(cells[0])
        if first is None or cells[0] != str(first + place):
            return False
        place += 1
    return first is not None


def _sentences(path: Path, encoding: str, layout: Layout, has_header: bool, table: Table) -> Iterator[Row]:
    """Stream the sentences; lines between two blank ones (or ``-DOCSTART-`` lines) are one."""
    faults, name, awaiting_header = FaultList(), table.name, has_header
    tokens: list[str] = []
    tags: list[str] = []
    first = num_documents = num_comments = num_rows = 0
    with open_text(path, encoding) as file:
        for number, line in enumerate(checked_lines(file, encoding, name, faults), 1):
            line = line if number > 1 else line.removeprefix("\ufeff")
            if _is_blank(line) or line.startswith(_DOCUMENT):
                num_documents += line.startswith(_DOCUMENT)
                if tokens:
                    num_rows += 1
                    yield _row(table, tokens, tags, first)
                tokens, tags = [], []
            elif layout.is_comment(line):
                num_comments += 1
            elif awaiting_header:
                awaiting_header = False
            elif (cells := _checked(layout, line, at(name, number), faults)) is not None:
                first = first if tokens else number
                tokens.append(cells[layout.token])
                tags.append(cells[layout.tag])
    if tokens:
        num_rows += 1
        yield _row(table, tokens, tags, first)
    faults.raise_if_any()
    if num_documents:
        table.announce(f"{name}: {num_documents:,} {_DOCUMENT} lines skipped")
    if num_comments:
        table.announce(f"{name}: {num_comments:,} comment lines skipped")
    if num_rows == 1 and len(tokens) > 1000:
        table.announce(f"{name}: no blank line: the whole file is one row of {len(tokens):,} tokens")


def _row(table: Table, tokens: list[str], tags: list[str], line: int) -> Row:
    return Row(dict(zip(table.columns, (tokens, tags), strict=True)), Place(table.name, line))


def _checked(layout: Layout, line: str, where: str, faults: FaultList) -> list[str] | None:
    """The columns of a line; None, and noted, where one is missing."""
    cells = layout.cells(line)
    if len(cells) == 1:
        faults.add(f"no tag behind {cells[0][:60]!r}", where, None, f"write {OUTSIDE} where the token is in no entity")
    elif len(cells) != layout.num_columns:
        between = "tabs" if layout.tabs else "blanks"
        faults.add(f"{len(cells)} columns instead of {layout.num_columns}", where, f"the line is {line.strip()[:60]!r}",
                   f"write {layout.num_columns} columns with {between} between on every line")  # fmt: skip
    elif not cells[layout.token] or not cells[layout.tag]:
        what = "tag" if cells[layout.token] else "token"
        faults.add(f"no {what}: its column is empty", where, f"the line is {line.strip()[:60]!r}", "fill or remove it")
    else:
        return cells
    return None


def conll_lines(tokens: Sequence[str], tags: Sequence[str]) -> str:
    """A sentence as CoNLL: token, tab and tag a line, and a blank line.

    Raises:
        DataError: not as many tags as tokens, none at all, or one that is empty or holds a tab or a line end.
    """
    if len(tokens) != len(tags) or not tokens:
        raise DataError(f"{len(tokens)} tokens and {len(tags)} tags cannot be written as CoNLL")
    for cell in (*tokens, *tags):
        if not isinstance(cell, str) or not cell.strip(" ") or any(end in cell for end in "\t\r\n"):
            raise DataError(f"{cell!r} cannot be a token or tag of a CoNLL file",
                            why="it is empty, no text, or holds a tab or a line end",
                            remedy="write another format: --output NAME.jsonl")  # fmt: skip
    return "".join(f"{token}\t{tag}\n" for token, tag in zip(tokens, tags, strict=True)) + "\n"
