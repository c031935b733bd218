"""Images in folders, named in tables, and as bytes in tables: found, read, and what is wrong with them said."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from feinschliff.config.data import DataConfig
from feinschliff.data.image_rows import examples_of_paths
from feinschliff.data.load import load_examples, load_splits
from feinschliff.data.quality import check
from feinschliff.errors import DataError
from feinschliff.results.data import ColumnsFound


def noise(seed: int, side: int = 24) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def content(seed: int) -> bytes:
    out = io.BytesIO()
    noise(seed).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Two classes of twelve images."""
    folder = tmp_path / "pictures"
    for place, label in enumerate(("cat", "dog")):
        (folder / label).mkdir(parents=True)
        for number in range(12):
            noise(100 * place + number).save(folder / label / f"{number}.png")
    return folder


def reading(*train: Path | str, **options: object) -> DataConfig:
    return DataConfig.model_validate({"train": tuple(map(str, train)), **options})


def test_folders_are_classes(classes: Path) -> None:
    (classes / "notes.csv").write_text("nothing")
    splits = load_splits(reading(classes), 0)
    assert splits.label_names == ["cat", "dog"]
    assert splits.columns.image == "image"
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 24
    assert all(Path(row.image.path).parent.name == row.labels[0] for row in splits.train if row.image)
    assert any("notes.csv" in said and "no class" in said for said in splits.announcements)


def test_limited_rows_hold_all_classes(classes: Path) -> None:
    assert load_splits(reading(classes, max_rows=10), 0).label_names == ["cat", "dog"]


def test_broken_images_are_dropped_with_the_reason_and_odd_ones_counted(classes: Path) -> None:
    whole = (classes / "cat" / "0.png").read_bytes()
    (classes / "cat" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (classes / "dog" / "text.jpg").write_text("not an image")
    (classes / "dog" / "empty.png").write_bytes(b"")
    noise(7).convert("CMYK").save(classes / "dog" / "print.jpg")
    noise(8, 1).save(classes / "cat" / "dot.png")
    splits = load_splits(reading(classes), 0)
    reasons = {Path(row.file).name: row.reason for row in splits.dropped}
    assert set(reasons) == {"cut.png", "text.jpg", "empty.png"}
    assert "cut off" in reasons["cut.png"]
    assert "recognised" in reasons["text.jpg"]
    assert "1 images: CMYK to RGB" in splits.announcements
    assert "1 images have fewer than 8 pixels a side" in splits.announcements


def test_the_same_pixels_are_one_row_and_nearly_the_same_picture_stays_on_one_side(classes: Path) -> None:
    big = noise(5, 8).resize((64, 64), Image.Resampling.BICUBIC)
    big.save(classes / "cat" / "big.png")
    big.save(classes / "cat" / "copy.bmp")
    for quality in (60, 70, 80, 90):
        big.save(classes / "cat" / f"q{quality}.jpg", quality=quality)
    splits = load_splits(reading(classes), 0)
    assert [Path(row.file).name for row in splits.dropped] == ["copy.bmp"]
    assert "exact duplicate" in splits.dropped[0].reason
    near = {f"q{quality}.jpg" for quality in (60, 70, 80, 90)} | {"big.png"}
    sides = [
        sum(Path(row.place.file).name in near for row in side)
        for side in (splits.train, splits.validation, splits.test)
    ]
    assert sorted(sides) == [0, 0, 5]
    kinds = {finding.kind: finding for finding in check(reading(classes)).findings}
    assert kinds["duplicate"].count == 1
    assert kinds["near_duplicate"].count == 4


def test_paths_in_csv_are_looked_for_beside_the_file(classes: Path) -> None:
    rows = [f"pictures/{label}/{n}.png,{label}" for label in ("cat", "dog") for n in range(12)]
    file = classes.parent / "rows.csv"
    file.write_text("\n".join(["path,animal", *rows, "pictures/cat/none.png,cat"]))
    splits = load_splits(reading(file), 0)
    assert splits.columns.image == "path"
    assert splits.columns.target == "animal"
    assert [row.reason for row in splits.dropped] == ["the image file is not there"]


def test_jsonl_with_several_labels_a_row(classes: Path) -> None:
    rows = [
        {"image": str(classes / label / f"{n}.png"), "labels": [label, "odd"] if n % 2 else [label]}
        for label in ("cat", "dog")
        for n in range(12)
    ]
    file = classes.parent / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    splits = load_splits(reading(file), 0)
    assert splits.columns.kind == "multi_label"
    assert splits.label_names == ["cat", "dog", "odd"]


@pytest.mark.parametrize("nested", [True, False])
def test_bytes_in_parquet_are_kept_as_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nested: bool) -> None:
    monkeypatch.setenv("FEINSCHLIFF_CACHE", str(tmp_path / "cache"))
    images = [content(seed) for seed in range(20)]
    cells = [{"bytes": image, "path": None} for image in images] if nested else images
    table = pyarrow.table({"img": cells, "label": ["a", "b"] * 10})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    splits = load_splits(reading(tmp_path / "rows.parquet"), 0)
    assert splits.columns.image == "img"
    paths = [Path(row.image.path) for row in (*splits.train, *splits.validation, *splits.test) if row.image]
    assert sorted(path.read_bytes() for path in paths) == sorted(images)


def test_images_of_the_hub_come_undecoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setenv("FEINSCHLIFF_CACHE", str(tmp_path / "cache"))
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "bee"])})
    rows = {"img": [{"bytes": content(n), "path": None} for n in range(19)], "label": [0, 1] * 9 + [0]}
    rows["img"].append({"bytes": b"broken", "path": None})
    rows["label"].append(1)
    made = datasets.Dataset.from_dict(rows, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: made)
    splits = load_splits(reading("hf:some/set"), 0)
    assert splits.label_names == ["ant", "bee"]
    assert [row.reason for row in splits.dropped] == ["image cannot be read, no image that can be recognised"]


def test_a_folder_without_classes_can_be_predicted(classes: Path) -> None:
    columns = ColumnsFound(text=["image"], image="image", target="label")
    examples, dropped, _ = load_examples([str(classes / "cat")], reading(), columns, needs_labels=False)
    assert len(examples) == 12
    assert not dropped
    paths = [str(classes / "cat" / "0.png"), str(classes / "none.png")]
    examples, dropped = examples_of_paths(paths, columns)
    assert [row.texts[0] for row in examples] == paths[:1]
    assert dropped[0].text == paths[1]


def test_sides_of_a_split_are_no_classes(classes: Path, tmp_path: Path) -> None:
    for side in ("train", "test"):
        (tmp_path / "set" / side).mkdir(parents=True)
        noise(1).save(tmp_path / "set" / side / "x.png")
    with pytest.raises(DataError, match="sides of a split") as caught:
        load_splits(reading(tmp_path / "set"), 0)
    assert "--test" in str(caught.value)


def test_asked_for_images_and_none_are_there(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("path,label\nnone.png,a\nnone2.png,b\n")
    with pytest.raises(DataError, match="names image files that are not there"):
        load_splits(reading(tmp_path / "rows.csv", rows="images"), 0)


def test_real_photographs(shared_data: Path) -> None:
    splits = load_splits(reading(shared_data / "cifar10_images" / "test"), 0)
    assert len(splits.label_names) == 10
    assert not splits.dropped
