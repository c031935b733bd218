"""The verb `models` as functions and on the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from feinschliff.cli.main import main
from feinschliff.errors import ModelError, ResourceError
from feinschliff.lifecycle import models
from feinschliff.models import catalogue
from feinschliff.models.size import weights_sha256

ROOT = Path(models.__file__).parents[2]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEINSCHLIFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("feinschliff.models.hub.cached_folder", lambda _: None)


def test_list_names_the_whole_catalogue() -> None:
    listed = models.list_models().models
    assert [model.name for model in listed] == list(catalogue.entries())
    assert not any(model.on_this_machine for model in listed)


def test_show_from_the_catalogue_and_from_a_folder(tiny_bert: Path) -> None:
    starter = models.show("minilm-l6")
    assert (starter.license, starter.license_is_open, starter.folder) == ("Apache-2.0", True, None)
    tiny = models.show(str(tiny_bert))
    assert (tiny.model_type, tiny.max_length_tokens, tiny.license) == ("bert", 128, None)
    assert tiny.weights_sha256 == weights_sha256(tiny_bert)


def test_verify_a_folder(tiny_bert: Path, tmp_path: Path) -> None:
    assert models.verify(str(tiny_bert)).weights_sha256 == weights_sha256(tiny_bert)
    broken = tmp_path / "broken"
    shutil.copytree(tiny_bert, broken)
    (broken / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="not a readable safetensors"):
        models.verify(str(broken))


@pytest.mark.parametrize("source", ["minilm-l6", "hf:acme/tiny", "pypi:a==1/b"])
def test_what_is_not_here_is_not_fetched_to_verify(source: str) -> None:
    with pytest.raises(ResourceError, match="feinschliff models pull"):
        models.verify(source)


def test_a_gguf_file_is_converted_before_it_is_shown(tmp_path: Path) -> None:
    from tests.models import tiny_gguf

    file = str(tiny_gguf.write(tmp_path / "tiny.gguf"))
    for verb in (models.show, models.verify):
        with pytest.raises(ResourceError, match=r"not converted into a model folder yet\n.*models pull"):
            verb(file)
    pulled = models.pull(file)
    assert (pulled.name, pulled.origin, pulled.license) == ("tiny.gguf", "file", "Apache-2.0")
    shown = models.show(file)
    assert (shown.model_type, shown.max_length_tokens, shown.languages) == ("llama", 128, ["en"])
    assert shown.weights_sha256 == models.verify(file).weights_sha256 == pulled.weights_sha256


def test_unknown_model_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "verify", "minilm-l66"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "did you mean minilm-l6" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("verb", ["show", "verify", "pull"])
def test_json_is_one_document(verb: str, tiny_bert: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", verb, str(tiny_bert), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["weights_sha256"] == weights_sha256(tiny_bert)


def test_people_read_tables(tiny_bert: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    assert "minilm-l6" in capsys.readouterr().out
    assert main(["models", "show", "minilm-l6"]) == 0
    assert "Apache-2.0 (open)" in capsys.readouterr().out
    assert main(["models", "verify", str(tiny_bert)]) == 0
    assert "every check passed (folder)" in capsys.readouterr().out


def test_list_and_show_need_no_torch() -> None:
    code = "import sys; from feinschliff.cli.main import main; "
    code += "assert main(['models', 'list']) == main(['models', 'show', 'roberta-base']) == 0; "
    code += "print({'torch', 'transformers'} & set(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr.strip() == "set()"
