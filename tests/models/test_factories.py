"""Networks of Python functions: imported where named, weights read without running anything, written, loaded again."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from feinschliff.errors import InputError, ModelError
from feinschliff.models import factories
from feinschliff.models.sources import cached_folder, resolve_model
from feinschliff.models.vision import load_vision, save_vision

CODE = """
from torch import nn

def convolutions(width=8, num_classes=5, classifier=True):
    top = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, num_classes)] if classifier else []
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3), nn.BatchNorm2d(2 * width), nn.ReLU(),
        nn.Conv2d(2 * width, 2 * width, 3), *top,
    )

def no_network():
    return 3
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEINSCHLIFF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A folder with a module that makes small networks, whose name no other test uses."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / f"tiny_{tmp_path.name}.py").write_text(CODE)
    return folder


def source(code: Path, function: str = "convolutions", **values: object) -> str:
    asked = {"weights": "random", "size": 32, "code": code, **values}
    return f"python:tiny_{code.parent.name}:{function}?" + "&".join(f"{key}={value}" for key, value in asked.items())


def test_a_source_says_function_arguments_and_how_images_come() -> None:
    found = factories.parse("python:a.b:C.make?weights=w.pth&size=64&mean=127/255&std=0.5,0.25,1&depth=3&name=x-small")
    assert (found.factory, found.weights, found.size, found.code) == ("a.b:C.make", "w.pth", 64, None)
    assert found.arguments == {"depth": 3, "name": "x-small"}
    assert found.mean == (127 / 255,) * 3
    assert found.std == (0.5, 0.25, 1.0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("python:a.b", "does not name a function"),
        ("python:a b:c?weights=random", "does not name a function"),
        ("python:a:b", "names no weights"),
        ("python:a:b?weights=random&mean=x", "no number"),
        ("python:a:b?weights=random&mean=1,2", "neither one number nor three"),
        ("python:a:b?weights=random&std=1/0", "no number"),
    ],
)
def test_malformed_sources(wrong: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        factories.parse(wrong)


def test_named_once_it_is_a_verified_folder(code: Path) -> None:
    assert cached_folder(source(code)) is None
    found = resolve_model(source(code))
    assert found.origin == "factory"
    assert cached_folder(source(code)) == found.folder
    assert any("because you named it" in said for said in found.announcements)
    assert resolve_model(source(code)).weights_sha256 == found.weights_sha256


def test_a_folder_alone_runs_no_code(code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = resolve_model(source(code)).folder
    monkeypatch.setenv("FEINSCHLIFF_CACHE", str(tmp_path / "of another person"))
    with pytest.raises(ModelError, match="asks for Python code") as caught:
        load_vision(folder)
    assert "models pull" in str(caught.value)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".wrapped.pth"])
def test_weights_of_a_file_are_those_of_the_network(code: Path, tmp_path: Path, suffix: str) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(3)
    state = factories.build(factories.parse(source(code)), resolve_model(source(code)).folder).state_dict()
    state = {name: torch.rand_like(v) if v.is_floating_point() else v for name, v in state.items()}
    file = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save(state if suffix == ".pth" else {"state_dict": {f"module.{k}": v for k, v in state.items()}}, file)
    folder = resolve_model(source(code, weights=file)).folder
    loaded = load_vision(folder)
    assert loaded.classifier == "9"
    assert loaded.weight_Cd is not None
    assert torch.equal(loaded.weight_Cd, state["9.weight"])
    assert torch.equal(dict(loaded.body.named_parameters())["model.3.weight"], state["3.weight"])


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("evil"),))  # type: ignore[return-value]


def test_a_pickle_with_code_is_refused(code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.pth").write_bytes(pickle.dumps({"a": Evil()}))
    with pytest.raises(ModelError, match="mere weights"):
        resolve_model(source(code, weights=tmp_path / "bad.pth"))
    assert not (tmp_path / "evil").exists()


def test_faults_of_code_and_weights_are_said(code: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="made a int"):
        resolve_model(source(code, "no_network"))
    with pytest.raises(ModelError, match="cannot make a network"):
        resolve_model(source(code, "absent"))
    with pytest.raises(ModelError, match="no weights file"):
        resolve_model(source(code, weights=tmp_path / "none.pth"))
    torch.save({"x": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match="do not belong"):
        load_vision(resolve_model(source(code, weights=tmp_path / "other.pth")).folder)


@pytest.mark.parametrize("classifier", [True, False])
def test_written_it_is_loaded_without_us(code: Path, tmp_path: Path, classifier: bool) -> None:
    loaded = load_vision(resolve_model(source(code, classifier=classifier)).folder)
    assert (loaded.classifier is None) is not classifier
    generator = torch.Generator().manual_seed(1)
    weights = {f"body.{name}": torch.rand(p.shape, generator=generator) for name, p in loaded.body.named_parameters()}
    weights |= {"head.linear.weight": torch.rand(3, loaded.body.hidden_width), "head.linear.bias": torch.rand(3)}
    folder = tmp_path / "written"
    folder.mkdir()
    save_vision(loaded, weights, ["a", "b", "c"], False, folder)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    image.save(tmp_path / "x.png")
    lines = (
        "import sys; from PIL import Image; sys.path[:0] = sys.argv[1:3]",
        "from load_model import load, preprocess",
        "print(*load(sys.argv[1])(preprocess(Image.open(sys.argv[3]), sys.argv[1])[None])[0].tolist())",
    )
    command = [sys.executable, "-c", "\n".join(lines), str(folder), str(code), str(tmp_path / "x.png")]
    alone = list(map(float, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()))
    with torch.no_grad():
        body = load_vision(resolve_model(source(code, classifier=classifier)).folder).body
        body.load_state_dict(
            {name.removeprefix("body."): v for name, v in weights.items() if "head" not in name}, strict=False
        )
        pixels = torch.from_numpy(loaded.form.pixels(image)).float() / 255
        mean, std = (torch.tensor(values)[:, None, None] for values in (loaded.form.mean, loaded.form.std))
        ours = body(((pixels - mean) / std)[None]) @ weights["head.linear.weight"].T + weights["head.linear.bias"]
    np.testing.assert_allclose(alone, ours[0].numpy(), rtol=1e-4)
    again = load_vision(folder)
    assert again.classifier == loaded.classifier
    assert torch.equal(again.weight_Cd, weights["head.linear.weight"])  # type: ignore[arg-type]
    assert "model.0.weight" in dict(again.body.named_parameters())
    assert load_file(folder / "model.safetensors").keys() >= {"head.weight", "0.weight"}
