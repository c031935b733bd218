"""Keras files from data to a .keras file again, by the command line: images and rows of numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.acceptance.walk import Refusal, assert_no_traceback, assert_refused, call
from tests.models.tiny_keras import conv_net, keras, saved, table_net

Capture = pytest.CaptureFixture[str]
QUICK = ("--training.num-threads", "1", "--training.precision", "fp32")


@pytest.fixture
def pictures(desk: Path) -> Path:
    """Two folders of noise, one brighter at the left, the other at the right."""
    rng = np.random.default_rng(0)
    for name, side in (("left", slice(0, 8)), ("right", slice(8, 16))):
        (desk / "pictures" / name).mkdir(parents=True)
        for number in range(30):
            pixels = rng.integers(0, 120, (16, 16), dtype=np.uint8)
            pixels[:, side] += 120
            Image.fromarray(pixels).save(desk / "pictures" / name / f"{number}.png")
    return desk / "pictures"


@pytest.fixture
def numbers(desk: Path) -> Path:
    """Four numbers around another place for each label; one row has a hole."""
    rng = np.random.default_rng(0)
    lines = ["a,b,c,d,kind"]
    for row in range(90):
        values = rng.normal(2 * (row % 3), 1.0, 4)
        lines.append(",".join(f"{value:.4f}" for value in values) + f",{'xyz'[row % 3]}")
    (desk / "numbers.csv").write_text("\n".join([*lines, "1.0,,2.0,3.0,x"]) + "\n", encoding="utf-8")
    return desk / "numbers.csv"


def test_images_from_files_to_a_keras_file(desk: Path, pictures: Path, capsys: Capture) -> None:
    saved(conv_net(channels=1), desk / "net.keras")
    command = ("tune", "pictures", "--model", "net.keras?license=MIT", "--output-dir", "runs/k", "--budget", "20s")
    tuned = call(capsys, *command, "--json", *QUICK)
    assert tuned.code in (0, 1), tuned
    assert "task image_classification" in tuned.err
    assert "values from 0 to 1: assumed" in tuned.err
    assert tuned.document["details"]["base_license"] == "MIT"
    (answer,) = call(capsys, "predict", "runs/k", "pictures/left/3.png", "--json").document
    assert sum(answer["scores"].values()) == pytest.approx(1.0, abs=1e-3)
    assert call(capsys, "evaluate", "runs/k", "--json").document["rows"] == tuned.document["rows"]["test"]
    exported = call(capsys, "export", "runs/k", "--output-dir", "out", "--json")
    assert exported.document["largest_difference"] < 1e-5
    shutil.rmtree(desk / "runs")
    facts = json.loads((desk / "out" / "keras.json").read_text(encoding="utf-8"))
    pixels = np.asarray(Image.open(pictures / "left" / "3.png"), dtype=np.float32)[None, :, :, None] / 255
    model = keras().saving.load_model(desk / "out" / "model.keras")
    plain = dict(zip(facts["labels"], np.asarray(model.predict(pixels, verbose=0))[0], strict=True))
    assert plain == pytest.approx(answer["scores"], abs=1e-4)
    shown = call(capsys, "models", "show", "out", "--json").document
    assert (shown["loadable"], shown["license"], shown["input_shape"]) == (True, "MIT", [16, 16, 1])
    again = call(capsys, "train", "pictures", "--model", "out", "--output-dir", "runs/again", "--json", *QUICK)
    assert again.code == 0, again
    assert "as the folder says" in again.err
    assert_no_traceback(again)


def test_numbers_from_a_file_to_a_keras_file(desk: Path, numbers: Path, capsys: Capture) -> None:
    saved(table_net(), desk / "net.keras")
    command = ("tune", "numbers.csv", "--model", "net.keras", "--output-dir", "runs/k", "--budget", "20s")
    tuned = call(capsys, *command, "--json", *QUICK)
    assert tuned.code in (0, 1), tuned
    assert "4 columns of numbers, read in this order: a, b, c, d" in tuned.err
    assert "1 rows dropped: no number in column 'b'" in tuned.err
    assert "task tabular_classification" in tuned.err
    (answer,) = call(capsys, "predict", "runs/k", "2.0, 2.1, 1.9, 2", "--json").document
    (desk / "asked.csv").write_text("d,c,b,a\n2,1.9,2.1,2.0\n", encoding="utf-8")
    (of_file,) = call(capsys, "predict", "runs/k", "--file", "asked.csv", "--json").document
    assert of_file["scores"] == answer["scores"]
    assert_refused(
        call(capsys, "predict", "runs/k", "2.0, 2.1", "--json"),
        Refusal("does not hold 4 numbers", "row 1", remedy="a, b, c, d"),
    )
    assert call(capsys, "evaluate", "runs/k", "numbers.csv", "--json").document["rows"] == 90
    assert call(capsys, "export", "runs/k", "--output-dir", "out", "--json").document["largest_difference"] < 1e-5
    facts = json.loads((desk / "out" / "keras.json").read_text(encoding="utf-8"))
    assert facts["columns"] == ["a", "b", "c", "d"]
    model = keras().saving.load_model(desk / "out" / "model.keras")
    plain = np.asarray(model.predict(np.array([[2.0, 2.1, 1.9, 2.0]]), verbose=0))[0]
    assert dict(zip(facts["labels"], plain, strict=True)) == pytest.approx(answer["scores"], abs=1e-4)
    assert "tabular-classification" in (desk / "out" / "README.md").read_text(encoding="utf-8")


def test_what_does_not_fit_is_refused(desk: Path, pictures: Path, numbers: Path, capsys: Capture) -> None:
    saved(table_net(3), desk / "narrow.keras")
    saved(conv_net(), desk / "images.keras")
    out = ("--output-dir", "runs/k", "--json", *QUICK)
    assert_refused(
        call(capsys, "train", "numbers.csv", "--model", "narrow.keras", *out),
        Refusal("the model reads 3 numbers, the rows have 4", "narrow.keras", "a, b, c, d", "--data.text"),
    )
    assert_refused(
        call(capsys, "train", "numbers.csv", "--task", "tabular_classification", *out),
        Refusal("no model that reads numbers was named", "model.source", remedy="path/model.keras"),
    )
    assert_refused(
        call(capsys, "train", "numbers.csv", "--task", "tabular_classification", "--model", "images.keras", *out),
        Refusal("reads rows of shape 16 x 16 x 3", "images.keras", remedy="--task image_classification"),
    )
    assert_refused(
        call(capsys, "train", "pictures", "--model", "images.keras", "--method", "lora", *out),
        Refusal("method lora does not go with a Keras file", why="Keras's own", remedy="frozen_layers"),
    )
    assert_refused(
        call(capsys, "train", "pictures", "--model", "narrow.keras", *out),
        Refusal("no columns of numbers were found"),
    )
    (desk / "old.h5").write_bytes(b"\x89HDF")
    assert_refused(
        call(capsys, "train", "pictures", "--model", "old.h5", *out),
        Refusal("old HDF5 format", "old.h5", remedy="save it anew"),
    )


def test_columns_can_be_named(desk: Path, numbers: Path, capsys: Capture) -> None:
    saved(table_net(3), desk / "narrow.keras")
    named = ("--data.text", "d,a,c")
    command = ("train", "numbers.csv", "--model", "narrow.keras", *named, "--output-dir", "runs/k", "--json", *QUICK)
    trained = call(capsys, *command)
    assert trained.code == 0, trained
    assert "read in this order: d, a, c (as asked)" in trained.err
