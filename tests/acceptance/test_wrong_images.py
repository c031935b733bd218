"""Images that are missing, broken or without a class, and models that read something else: refused, or counted."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.acceptance.each_verb import Capture, assert_not_learned, assert_refused_by_a_run, learning
from tests.acceptance.walk import Refusal, assert_no_traceback, assert_refused, call, contents

Make = Callable[[Path], None]
RNG = np.random.default_rng(0)


def pictures(folder: Path, count: int = 12) -> Path:
    """Two classes of noise, one brighter at the left, the other at the right."""
    for label, side in (("left", slice(0, 16)), ("right", slice(16, 32))):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            pixels = RNG.integers(0, 120, (32, 32, 3), dtype=np.uint8)
            pixels[:, side] += 120
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    return folder


def listed(desk: Path, header: str, line: Callable[[int, str, str], str]) -> None:
    """A csv of good images, in ``data.csv``: ``line`` makes a row of number, path and label."""
    files = sorted(pictures(desk / "images").rglob("*.png"))
    rows = [line(n, file.relative_to(desk).as_posix(), file.parent.name) for n, file in enumerate(files)]
    (desk / "data.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def broken(file: Path, cut: int) -> None:
    file.write_bytes(file.read_bytes()[:cut])


def _no_images(desk: Path) -> None:
    (desk / "data" / "left").mkdir(parents=True)
    (desk / "data" / "left" / "readme.md").write_text("nothing yet")


def _no_classes(desk: Path) -> None:
    shutil.move(pictures(desk / "some") / "left", desk / "data")


def _one_class(desk: Path) -> None:
    shutil.rmtree(pictures(desk / "data") / "left")


def _one_image(desk: Path) -> None:
    (pictures(desk / "data") / "solo").mkdir()
    shutil.copy(desk / "data" / "left" / "0.png", desk / "data" / "solo" / "1.png")


def _all_broken(desk: Path) -> None:
    for file in pictures(desk / "data").rglob("*.png"):
        broken(file, 40)


FOLDERS: dict[str, tuple[Make, Refusal, int]] = {
    "no images": (
        _no_images,
        Refusal("no subfolders with .txt files or images", "data", "it holds left", "one subfolder per class"),
        2,
    ),
    "no classes": (
        _no_classes,
        Refusal("no label column was found", "data/", "images in column 'image'", "one folder a class"),
        2,
    ),
    "one class": (_one_class, Refusal("every row has the label 'right'", "data", "at least two", "another class"), 1),
    "a class with one image": (
        _one_image,
        Refusal("the class 'solo' has a single row", "data/solo/1.png", "held-out", "add rows of this class"),
        1,
    ),
    "all broken": (
        _all_broken,
        Refusal("0 usable rows", "data", "24 image cannot be read, no image that can be rec", "mend the rows"),
        1,
    ),
}


@pytest.fixture(scope="module")
def sorter(tmp_path_factory: pytest.TempPathFactory, tiny_vit: Path) -> Path:
    """A finished run of image classification."""
    from feinschliff.cli.main import main

    folder = tmp_path_factory.mktemp("sorter")
    arguments = learning("train", str(pictures(folder / "good")), tiny_vit)
    assert main([*arguments, "--output-dir", str(folder / "run")]) == 0
    return folder / "run"


def assert_wrong(data: str, refusal: Refusal, check: int, model: Path, capsys: Capture) -> None:
    before = contents(Path.cwd() / "images")
    for verb in ("train", "tune"):
        assert_not_learned(call(capsys, *learning(verb, data, model)), refusal, verb)
    checked = call(capsys, "data", "check", data, "--model", "none", "--json")
    assert_no_traceback(checked)
    assert checked.code == check, checked
    assert contents(Path.cwd() / "images") == before


@pytest.mark.parametrize("name", FOLDERS)
def test_folders(name: str, desk: Path, tiny_vit: Path, capsys: Capture) -> None:
    make, refusal, check = FOLDERS[name]
    make(desk)
    assert_wrong("data", refusal, check, tiny_vit, capsys)


@pytest.mark.parametrize("share", [1, 4], ids=["all", "one of four is there"])
def test_paths_that_do_not_exist(share: int, desk: Path, tiny_vit: Path, sorter: Path, capsys: Capture) -> None:
    """They are no texts either: no model learns file names."""
    there = {number for number in range(24) if share > 1 and number % share == 0}
    listed(desk, "image,label", lambda n, path, label: f"{path if n in there else 'gone/' + path},{label}")
    gone, line = 24 - len(there), 3 if there else 2
    why = f"{gone} of the first 24, such as 'gone/images/left/"
    refusal = Refusal("column 'image' names image files that are not there", f"data.csv:{line}", why, "mend the paths")
    assert_wrong("data.csv", refusal, 2, tiny_vit, capsys)
    named = call(capsys, *learning("train", "data.csv", tiny_vit), "--task", "image_classification")
    assert_not_learned(named, refusal, "train")
    unnamed = call(capsys, *learning("train", "data.csv", None))
    assert_not_learned(unnamed, refusal, "train")
    if share == 1:
        nothing = Refusal("no row can be used", "data.csv", "24 rows dropped: the image file is not there", "mend")
        assert_refused_by_a_run(sorter, ["data.csv"], nothing, capsys)


def test_images_without_labels(desk: Path, tiny_vit: Path, sorter: Path, capsys: Capture) -> None:
    listed(desk, "image", lambda n, path, label: path)
    refusal = Refusal("no label column was found", "data.csv", "images in column 'image'", "a csv with the columns")
    assert_wrong("data.csv", refusal, 2, tiny_vit, capsys)
    assert len(call(capsys, "predict", str(sorter), "--file", "data.csv", "--json").document) == 24


def test_some_broken_images_are_left_out(desk: Path, tiny_vit: Path, sorter: Path, capsys: Capture) -> None:
    """Cut off, empty, and a text of another name; a .txt file among images makes no folder of texts of them."""
    data = pictures(desk / "data")
    broken(data / "left" / "0.png", 1500)
    broken(data / "left" / "1.png", 0)
    (data / "right" / "12.jpg").write_text("these are words")
    (data / "right" / "notes.txt").write_text("these too")
    trained = call(capsys, *learning("train", "data", tiny_vit))
    assert trained.code == 0, trained
    assert "1 files left out (such as right/notes.txt): not named as images are" in trained.err
    assert "1 rows dropped: image cannot be read, the file is cut off" in trained.err
    assert "2 rows dropped: image cannot be read, no image that can be recognised" in trained.err
    dropped = (desk / "runs" / "train" / "dropped.csv").read_text(encoding="utf-8")
    assert all(file in dropped for file in ("data/left/0.png", "data/left/1.png", "data/right/12.jpg"))
    judged = call(capsys, "evaluate", str(sorter), "data", "--json").document
    assert judged["rows"] == 22
    assert any("3 rows were left out: image cannot be read" in note for note in judged["notes"])
    asked = call(capsys, "predict", str(sorter), "--file", "data", "--json")
    assert_refused(
        asked, Refusal("3 rows cannot be predicted", "data/left/0.png", "cut off", "every row gets an answer")
    )
    checked = call(capsys, "data", "check", "data", "--model", "none", "--json")
    assert {one["count"] for one in checked.document["findings"] if "cannot be read" in one["message"]} == {1, 2}


def test_empty_cells_and_a_second_column_of_images(desk: Path, tiny_vit: Path, capsys: Capture) -> None:
    listed(
        desk, "image,mask,label", lambda n, path, label: f"{path if n != 3 else ''},{path},{label if n != 5 else ''}"
    )
    trained = call(capsys, *learning("train", "data.csv", tiny_vit))
    assert trained.code == 0, trained
    assert "other columns with images are not used: mask" in trained.err
    dropped = (desk / "runs" / "train" / "dropped.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert dropped[0].startswith("data.csv,5,no image in column 'image'")
    assert dropped[1].startswith("data.csv,7,no label in column 'label'")
    assert len(dropped) == 2


NOT_IMAGES = {
    "nothere.png": Refusal("the image file is not there", "nothere.png", remedy="give paths of image files"),
    "words.txt": Refusal("no image that can be recognised", "words.txt", remedy="give paths of image files"),
    "renamed.jpg": Refusal("no image that can be recognised", "renamed.jpg", remedy="give paths of image files"),
    "data": Refusal("this is a folder, not an image", "data", remedy="--file data"),
    "": Refusal("no image in column 'image'", "an empty path", remedy="give paths of image files"),
}


@pytest.mark.parametrize("name", NOT_IMAGES)
def test_predict_says_what_is_no_image(name: str, desk: Path, sorter: Path, capsys: Capture) -> None:
    good = pictures(desk / "data", 1) / "left" / "0.png"
    for file in ("words.txt", "renamed.jpg"):
        (desk / file).write_text("these are words")
    for asked in ([name], [str(good), name]):
        assert_refused(call(capsys, "predict", str(sorter), *asked, "--json"), NOT_IMAGES[name])


def test_models_that_read_something_else(
    desk: Path, tiny_vit: Path, tiny_bert: Path, sorter: Path, good: Path, capsys: Capture
) -> None:
    pictures(desk / "data")
    cases = [
        (
            "data",
            None,
            Refusal("no model that reads images was named", "model.source", "an encoder of texts", "--model"),
        ),
        (
            "data",
            tiny_bert,
            Refusal("cannot be loaded as an image model", "tiny_bert", "no image classifier", "name an"),
        ),
        ("good.csv", tiny_vit, Refusal("'vit' is not supported for text", "model.source", remedy="choose an encoder")),
    ]
    for data, model, refusal in cases:
        for verb in ("train", "tune"):
            assert_not_learned(call(capsys, *learning(verb, data, model)), refusal, verb)
        if model is not None:
            assert_refused(call(capsys, "data", "check", data, "--model", str(model), "--json"), refusal)
    assert_refused_by_a_run(
        sorter,
        ["good.csv"],
        Refusal("there is no column 'image'", "good.csv", "trained with it", "text, label"),
        capsys,
    )


def test_a_run_of_texts_reads_no_images(desk: Path, finished: Path, capsys: Capture) -> None:
    pictures(desk / "data")
    refusal = Refusal("there is no column 'text'", "data", "was trained with it", "its columns: image, label")
    assert_refused_by_a_run(finished, ["data"], refusal, capsys)
