"""Keras files as sources: what is read from a name, what is refused and what to do then."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from feinschliff.errors import InputError, ModelError, ResourceError
from feinschliff.lifecycle.models import show, verify
from feinschliff.models import keras_files
from feinschliff.models.keras_images import load_keras
from feinschliff.models.size import num_parameters
from feinschliff.models.sources import resolve_model
from tests.models.tiny_keras import conv_net, keras, saved


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEINSCHLIFF_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return saved(conv_net(), tmp_path / "net.keras")


def test_options_are_read() -> None:
    facts = keras_files.parse("a/b.keras?range=-1..1&size=48&license=MIT")
    assert (facts.range, facts.size, facts.license) == ((-1.0, 1.0), 48, "MIT")
    assert keras_files.path_of("a/b.keras?range=0..1") == Path("a/b.keras")


@pytest.mark.parametrize("options", ["rnge=1", "range=1", "range=a..b", "range=1..0", "range=1..1", "size=x", "size=0"])
def test_wrong_options_are_refused(options: str) -> None:
    with pytest.raises(InputError) as refused:
        keras_files.parse(f"a.keras?{options}")
    assert "a.keras" in str(refused.value)


def test_a_file_becomes_a_verified_folder(file: Path) -> None:
    found = resolve_model(f"{file}?license=mit")
    assert (found.origin, found.name, found.license) == ("file", "net.keras", "MIT")
    assert resolve_model(str(file)).license is None
    assert resolve_model(str(file)).folder != found.folder
    assert resolve_model(str(file)).weights_sha256 == found.weights_sha256
    assert num_parameters(found.folder) == conv_net().count_params()
    assert resolve_model(str(found.folder)).weights_sha256 == found.weights_sha256


def test_show_and_verify(file: Path) -> None:
    details = show(str(file))
    assert (details.num_layers, details.input_shape, details.loadable) == (3, [16, 16, 3], True)
    assert details.license is None
    assert any("16 x 16 x 3" in said for said in verify(str(file)).announcements)
    broken = file.with_name("broken.keras")
    broken.write_bytes(file.read_bytes()[:2000])
    told = show(str(broken))
    assert told.loadable is False
    assert "cut off" in (told.not_loadable_because or "")


def test_tensorflow_is_not_imported(file: Path) -> None:
    load_keras(resolve_model(str(file)).folder)
    assert not [name for name in sys.modules if name.split(".")[0] == "tensorflow"]


def _with_lambda(path: Path) -> Path:
    k = keras()
    layers = [k.Input((4,)), k.layers.Lambda(lambda x: 2 * x, name="doubling"), k.layers.Dense(2)]
    return saved(k.Sequential(layers), path / "net.keras")


def _with_own_layer(path: Path) -> Path:
    k = keras()

    class Doubling(k.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, x: object) -> object:
            return x

    return saved(k.Sequential([k.Input((4,)), Doubling(), k.layers.Dense(2)]), path / "net.keras")


def _changed(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """A good file with other parts inside."""
    good = saved(conv_net(), path / "good.keras")
    with zipfile.ZipFile(good) as content:
        parts = {name: content.read(name) for name in content.namelist()}
    change(parts)
    with zipfile.ZipFile(path / "net.keras", "w") as content:
        for name, value in parts.items():
            content.writestr(name, value)
    return path / "net.keras"


def _of_tensorflow(path: Path) -> Path:
    def change(parts: dict[str, bytes]) -> None:
        parts["config.json"] = parts["config.json"].replace(b'"Add"', b'"TFOpLambda"')

    return _changed(path, change)


def _of_another_network(path: Path) -> Path:
    def change(parts: dict[str, bytes]) -> None:
        parts["config.json"] = parts["config.json"].replace(b'"filters": 10', b'"filters": 11')

    return _changed(path, change)


def _no_json(path: Path) -> Path:
    return _changed(path, lambda parts: parts.update({"config.json": b"{"}))


def _truncated(path: Path) -> Path:
    good = saved(conv_net(), path / "net.keras")
    good.write_bytes(good.read_bytes()[:-2000])
    return good


def _bits_flipped(path: Path) -> Path:
    good = saved(conv_net(), path / "net.keras")
    content = bytearray(good.read_bytes())
    place = content.find(b"model.weights.h5") + 4000
    content[place : place + 8] = b"\xff" * 8
    good.write_bytes(bytes(content))
    return good


def _any_zip(path: Path) -> Path:
    with zipfile.ZipFile(path / "net.keras", "w") as content:
        content.writestr("notes.txt", "nothing")
    return path / "net.keras"


def _saved_model(path: Path) -> Path:
    folder = path / "net"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"\x08\x01")
    return folder


def _folder_of_a_file(path: Path) -> Path:
    (path / "net").mkdir()
    saved(conv_net(), path / "net" / "inner.keras")
    return path / "net"


def _named(name: str) -> Callable[[Path], Path]:
    def made(path: Path) -> Path:
        (path / name).write_bytes(b"\x89HDF\r\n\x1a\n")
        return path / name

    return made


@pytest.mark.parametrize(
    ("harm", "what", "remedy"),
    [
        (_with_lambda, "Lambda layers: doubling", "Keras's own layers in its place"),
        (_with_own_layer, "layers of its own: Doubling", "register_keras_serializable"),
        (_of_tensorflow, "calls TensorFlow: TFOpLambda", "keras.ops"),
        (_of_another_network, "Keras cannot load the model", "here is Keras 3"),
        (_no_json, "config.json inside is not valid JSON", "save it again"),
        (_truncated, "damaged or cut off", "save it again"),
        (_bits_flipped, "net.keras is", "again"),
        (_any_zip, "no Keras 3 file", "model.save"),
        (_saved_model, "TensorFlow SavedModel", "save_model(model, 'model.keras')"),
        (_folder_of_a_file, "holds a Keras file", "inner.keras"),
        (_named("old.h5"), "old HDF5 format", "save_model(model, 'model.keras')"),
        (_named("net.weights.h5"), "holds only weights", "model.load_weights"),
        (_named("tf_model.h5"), "tf_model.h5 is no Keras model", "from_tf=True"),
        (lambda path: path / "none.keras", "there is no file", "check the path"),
    ],
)
def test_what_cannot_load_says_what_to_do(harm: Callable[[Path], Path], what: str, remedy: str, tmp_path: Path) -> None:
    source = str(harm(tmp_path))
    with pytest.raises(ModelError) as refused:
        verify(source)
    (fault, *_) = refused.value.faults
    assert what in fault.what
    assert remedy in (fault.remedy or "")


def test_an_own_layer_that_is_registered_loads(tmp_path: Path) -> None:
    k = keras()

    @k.saving.register_keras_serializable("tests")  # type: ignore[untyped-decorator]
    class Halving(k.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, x: object) -> object:
            return x

    layers = [k.Input((4,)), k.layers.Dense(3), Halving(), k.layers.Dense(2)]
    folder = resolve_model(str(saved(k.Sequential(layers), tmp_path / "own.keras"))).folder
    assert load_keras(folder).body.num_layers == 1


def test_without_keras_the_extra_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = resolve_model(str(file)).folder
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(ResourceError, match=r"feinschliff\[keras\]"):
        load_keras(folder)


def test_facts_that_are_damaged_are_refused(file: Path) -> None:
    folder = resolve_model(str(file)).folder
    (folder / "keras.json").write_text(json.dumps({"nothing": 1}))
    with pytest.raises(ModelError, match="not readable"):
        keras_files.read(folder)


def test_the_emotion_classifier_of_the_shared_folder() -> None:
    shared = Path(__file__).resolve().parents[3] / "shared" / "models" / "fer-emotion-keras" / "emotion_model.keras"
    if not shared.exists():
        pytest.skip(f"real model absent: {shared}")
    details = show(f"{shared}?license=MIT")
    assert (details.num_layers, details.input_shape, details.num_parameters) == (6, [64, 64, 1], 58423)
    assert details.license_is_open
