"""Rows with images (paths, or bytes as parquet and the Hub have them) to examples. Each image is decoded once, to see.

Worker threads decode: Pillow lets other threads run. Bytes are kept in the cache as files named by their hash, so that
an image can be found again by its path. Knows no file format of tables, and no model.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path

from feinschliff import settings
from feinschliff.config.data import DataConfig
from feinschliff.data.columns import cell_labels, cell_text, find_columns
from feinschliff.data.examples import Example, Place
from feinschliff.data.images import SUFFIXES, Looked, UnreadableImage, looked_at
from feinschliff.data.rows_to_examples import RowReader, count_reasons, dropped_row, group_and_time
from feinschliff.data.tables import Cell, Row, at
from feinschliff.errors import DataError
from feinschliff.results.data import ColumnsFound, DroppedRow
from feinschliff.store.run_directory import write_bytes

CHUNK_ROWS = 256
SEEN_ROWS = 200
FOUND_SHARE = 0.5
"""Of the paths sampled, so many lead to files: a few may be missing."""
WORKERS = min(8, os.cpu_count() or 1)


def image_columns(sample: Sequence[Row], columns: Sequence[str]) -> list[str]:
    """Columns whose cells are image files that exist, or images as bytes."""
    return [name for name in columns if _holds_images(sample[:SEEN_ROWS], name)]


def _holds_images(sample: Sequence[Row], name: str) -> bool:
    rows = [row for row in sample if row.cells.get(name) not in (None, "")]
    if not rows:
        return False
    if all(_bytes_of(row.cells[name]) is not None for row in rows):
        return True
    named = [row for row in rows if _named_like_image(row.cells[name])]
    return len(named) == len(rows) and sum(_path_of(row, name) is not None for row in rows) >= FOUND_SHARE * len(rows)


def _named_like_image(cell: Cell) -> bool:
    path = cell.get("path") if isinstance(cell, Mapping) else cell
    return isinstance(path, str) and path.strip().lower().endswith(SUFFIXES)


def _bytes_of(cell: Cell) -> bytes | None:
    content = cell.get("bytes") if isinstance(cell, Mapping) else cell
    return bytes(content) if isinstance(content, bytes | bytearray) else None


def _path_of(row: Row, name: str) -> Path | None:
    """The file a cell names: as it stands, or beside the file that names it."""
    cell = row.cells.get(name)
    text = cell.get("path") if isinstance(cell, Mapping) else cell
    if not isinstance(text, str) or not text.strip():
        return None
    given = Path(text.strip()).expanduser()
    beside = Path(row.place.file).parent / given
    return next((path for path in (beside, given) if path.is_file()), None)


def refuse_missing_images(columns: Sequence[str], sample: Sequence[Row]) -> None:
    """Refuse a column of nothing but names of image files, most of which are not there.

    Raises:
        DataError: the first of them, and how many there are.
    """
    for name in columns:
        rows = [row for row in sample[:SEEN_ROWS] if row.cells.get(name) not in (None, "")]
        absent = [row for row in rows if _named_like_image(row.cells[name]) and _path_of(row, name) is None]
        if absent and all(_named_like_image(row.cells[name]) for row in rows):
            place = absent[0].place
            raise DataError(
                f"column {name!r} names image files that are not there",
                where=at(place.file, place.line),
                why=f"{len(absent)} of the first {len(rows)}, such as {_shown(absent[0], name)!r}; looked beside "
                f"{place.file} and in {Path.cwd()}",
                remedy="mend the paths: from the folder of the file that names them, from here, or absolute",
            )


def cells_beside(row: Row, name: str | None, folder: Path) -> Mapping[str, Cell]:
    """The cells for a file in ``folder``: the path of an image is written as it holds from there."""
    cell, path = (row.cells.get(name), _path_of(row, name)) if name is not None else (None, None)
    if name is None or path is None or not isinstance(cell, str) or Path(cell.strip()).expanduser().is_absolute():
        return row.cells
    return {**row.cells, name: Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix()}


def find_image_columns(
    columns: Sequence[str], sample: Sequence[Row], config: DataConfig, needs_target: bool = True
) -> ColumnsFound | None:
    """The image column and its label column; None where no column holds images.

    Raises:
        DataError: images were asked for and there are none, or several columns hold them; no label column is found.
    """
    named = [name for name in config.text if name in columns]
    found = image_columns(sample, named or columns)
    if not found:
        if config.rows == "images":
            refuse_missing_images(named or columns, sample)
            raise DataError(
                "no column of images was found",
                where=sample[0].place.file,
                why=f"columns: {', '.join(columns)}; wanted: paths of files that exist (beside the file that names "
                "them, or from here), or images as bytes",
                remedy="name it: --text COLUMN, and check the paths",
            )
        return None
    image, others = found[0], found[1:]
    bare = [Row({**row.cells, **dict.fromkeys(found, "image")}, row.place) for row in sample]
    asked = config.model_copy(update={"text": (image,), "rows": "labels"})
    kept = [name for name in columns if name not in others]
    if needs_target and kept == [image]:
        raise DataError(
            "no label column was found",
            where=sample[0].place.file,
            why=f"there are images in column {image!r}, and nothing beside them",
            remedy="put them into one folder a class, or write a csv with the columns image and label",
        )
    answer = find_columns(kept, bare, asked, needs_target=len(kept) > 1)
    said = [f"image column {image!r} ({'as asked' if named else 'found'})", *answer.announcements[1:]]
    if others:
        said.append(f"other columns with images are not used: {', '.join(others)}")
    return answer.model_copy(update={"image": image, "announcements": said})


@dataclass(slots=True)
class ImageReader(RowReader):
    """Rows of images, each decoded once."""

    odd: Counter[str] = field(default_factory=Counter)
    num_tiny: int = 0

    def read(self, rows: Iterable[Row]) -> Iterator[Example]:
        """See ``RowReader``; images are looked at in worker threads, some rows ahead."""
        waiting = iter(rows)
        with ThreadPoolExecutor(WORKERS) as pool:
            while chunk := list(islice(waiting, CHUNK_ROWS)):
                for row, looked in zip(chunk, pool.map(self._look, chunk), strict=True):
                    example = self._example(row, looked)
                    if example is not None:
                        yield example

    def example(self, row: Row) -> Example | None:
        """See ``RowReader``."""
        return self._example(row, self._look(row))

    def _look(self, row: Row) -> Looked | str:
        """What an image is, or why it cannot be used."""
        name = self.columns.image or ""
        try:
            content = _bytes_of(row.cells.get(name))
            path = _path_of(row, name) if content is None else _kept(content)
            if path is None:
                cell = row.cells.get(name)
                return f"no image in column {name!r}" if cell in (None, "") else "the image file is not there"
            return looked_at(path)
        except UnreadableImage as error:
            return f"image cannot be read, {error}"

    def _example(self, row: Row, looked: Looked | str) -> Example | None:
        number, columns = self.num_rows, self.columns
        self.num_rows += 1
        labels = cell_labels(row.cells.get(columns.target), columns.label_separator) if columns.target else ()
        shown = _shown(row, columns.image or "")
        if isinstance(looked, str):
            self.dropped.append(dropped_row(Example((shown,), (), row.place), looked))
            return None
        if self.needs_labels and not labels and columns.kind == "single_label":
            reason = f"no label in column {columns.target!r}"
            self.dropped.append(dropped_row(Example((shown,), (), row.place), reason))
            return None
        self.odd.update(looked.odd)
        self.num_tiny += min(looked.width, looked.height) < 8
        return Example((shown,), labels, row.place, *group_and_time(row, columns), number, image=looked.ref)

    def announcements(self) -> list[str]:
        """See ``RowReader``."""
        said = [f"{count:,} rows dropped: {reason}" for reason, count in count_reasons(self.dropped).items()]
        said += [f"{count:,} images: {what}" for what, count in sorted(self.odd.items())]
        if self.num_tiny:
            said.append(f"{self.num_tiny:,} images have fewer than 8 pixels a side")
        return said


def _shown(row: Row, name: str) -> str:
    """What stands for the image where people look: its path, or its row."""
    path = None if _bytes_of(row.cells.get(name)) is not None else _path_of(row, name)
    if path is not None:
        return str(path)
    cell = row.cells.get(name)
    inner = cell.get("path") if isinstance(cell, Mapping) else cell
    return cell_text(inner) if isinstance(inner, str) else f"{row.place.file}:{row.place.line}"


def _kept(content: bytes) -> Path:
    """The file in the cache that holds these bytes, written where it is not there yet."""
    digest = blake2b(content, digest_size=20).hexdigest()
    path = settings.read().cache_dir / "images" / digest[:2] / digest
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
    return path


def examples_of_paths(paths: Sequence[str], columns: ColumnsFound) -> tuple[list[Example], list[DroppedRow]]:
    """Image files named one by one, to be answered."""
    reader = ImageReader(columns, needs_labels=False)
    rows = (Row({columns.image or "": path}, Place(path, 1)) for path in paths)
    return list(reader.read(rows)), reader.dropped
