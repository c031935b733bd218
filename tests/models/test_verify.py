"""Every way in which a model folder can be wrong is found, named and explained; a good one passes."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from feinschliff.models.size import num_parameters, read_header, size_mb, weights_sha256
from feinschliff.models.verify import verify_folder


@pytest.fixture
def folder(tiny_bert: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may break."""
    copy = tmp_path / "model"
    shutil.copytree(tiny_bert, copy)
    return copy


def change_json(file: Path, **changes: object) -> None:
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, **changes}))


def said(folder: Path) -> str:
    """The one fault of a folder, as a person reads it."""
    faults = verify_folder(folder)
    assert len(faults) == 1, [str(fault) for fault in faults]
    return str(faults[0])


def test_a_good_folder_has_no_faults(folder: Path) -> None:
    assert verify_folder(folder) == []


def test_size_and_hash_agree_with_torch(folder: Path) -> None:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder)
    assert num_parameters(folder) == sum(parameter.numel() for parameter in model.parameters())
    assert size_mb(folder) == (folder / "model.safetensors").stat().st_size / 1e6
    assert len(weights_sha256(folder)) == 64


def test_not_a_folder(tmp_path: Path) -> None:
    assert "no such model folder" in said(tmp_path / "nothing")
    assert "it holds: nothing" in said(tmp_path)


def test_folder_above_the_model_is_pointed_down(folder: Path) -> None:
    assert f"did you mean {folder}?" in said(folder.parent)
    (folder.parent / "config.json").write_text('{"seed": 3}')  # as a run has it
    assert f"did you mean {folder}?" in said(folder.parent)


def truncate(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def truncate_in_header(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])


def no_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 1000)


def header_is_no_json(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 10) + b"not json! ")


def wrong_offsets(folder: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))


def empty_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def longer(folder: Path) -> None:
    with open(folder / "model.safetensors", "ab") as weights:
        weights.write(b"more")


def lfs_pointer(folder: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    (folder / "model.safetensors").write_text(pointer)


def only(name: str) -> Callable[[Path], None]:
    """The weights have only this other name."""

    def rename(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / name)

    return rename


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (truncate, "truncated: "),
        (truncate_in_header, "truncated within the header: "),
        (no_header, "do not start with a safetensors header"),
        (header_is_no_json, "its header is not valid"),
        (wrong_offsets, "its header contradicts itself"),
        (empty_weights, "do not start with a safetensors header"),
        (longer, "longer than its header says"),
        (lfs_pointer, "git lfs pull"),
        (only("pytorch_model.bin"), "only as a pickle: pytorch_model.bin"),
        (only("pytorch_model.bin"), "save_pretrained("),
        (only("tf_model.h5"), "transformers 4.x"),
        (only("flax_model.msgpack"), "from_flax=True"),
        (only("other.safetensors"), "rename other.safetensors to model.safetensors"),
        (only("notes.txt"), "no weights in the model folder"),
    ],
)
def test_weights(folder: Path, damage: Callable[[Path], None], expected: str) -> None:
    damage(folder)
    assert expected in said(folder)


def shard(folder: Path) -> None:
    """Split the weights into two shards with an index."""
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {f"model-0000{part + 1}-of-00002.safetensors": names[part::2] for part in range(2)}
    for file, chosen in parts.items():
        save_file({name: tensors[name] for name in chosen}, folder / file, metadata={"format": "pt"})
    weight_map = {name: file for file, chosen in parts.items() for name in chosen}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_shards(folder: Path, tiny_bert: Path) -> None:
    shard(folder)
    assert verify_folder(folder) == []
    assert num_parameters(folder) == num_parameters(tiny_bert)
    first, second = (folder / f"model-0000{part}-of-00002.safetensors" for part in (1, 2))
    kept = second.read_bytes()
    second.unlink()
    assert "1 of 2 weight files are not there\n  why: missing: model-00002-of-00002.safetensors" in said(folder)
    second.write_bytes(kept[:-9])
    assert "model-00002-of-00002.safetensors is not a readable" in said(folder)
    second.write_bytes(first.read_bytes())
    assert "tensors of the index are in no shard" in said(folder)


def test_index_may_not_lead_out_of_the_folder(folder: Path) -> None:
    shard(folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../outside.safetensors"}}')
    assert "names shards outside the folder" in said(folder)
    (folder / "model.safetensors.index.json").write_text("[]")
    assert "holds no JSON object" in said(folder)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model_type": "bertt"}, "model_type 'bertt' is not known"),
        ({"model_type": None}, "names no model_type"),
        ({"auto_map": {"AutoModel": "modeling.Model"}}, "remote code runs with your rights"),
        ({"vocab_size": 5000}, "vocab_size 5,000, embedding matrix"),
    ],
)
def test_config(folder: Path, changes: dict[str, object], expected: str) -> None:
    change_json(folder / "config.json", **changes)
    assert expected in said(folder)


def test_config_that_is_no_object(folder: Path) -> None:
    (folder / "config.json").write_text("[]")
    assert "config.json holds no JSON object" in said(folder)
    (folder / "config.json").write_bytes(b"\xff\xfe{}")
    assert "config.json is not valid JSON" in said(folder)


def test_adapter_alone(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "acme/base"}')
    assert "give acme/base as the model" in said(folder)


def test_remote_code_of_the_tokenizer(folder: Path) -> None:
    change_json(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["tokenizing.Own", None]})
    assert "tokenizer_config.json asks for Python code" in said(folder)


def test_no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    assert "no tokenizer in the model folder" in said(folder)


def vocabulary(folder: Path) -> list[str]:
    vocab: dict[str, int] = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    return sorted(vocab, key=vocab.__getitem__)


def write_vocabulary(folder: Path, tokens: list[str]) -> None:
    """Replace the tokenizer by a plain vocab.txt."""
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")


def test_foreign_tokenizer_with_ids_out_of_range(folder: Path) -> None:
    write_vocabulary(folder, vocabulary(folder) + [f"foreign{number}" for number in range(50)])
    text = said(folder)
    assert "the tokenizer does not belong to this model" in text
    assert "ids would be out of range" in text


def test_foreign_tokenizer_with_too_few_ids(folder: Path) -> None:
    write_vocabulary(folder, vocabulary(folder)[:40])
    assert "words would meet the vectors of others" in said(folder)


def test_padded_embedding_matrix_is_fine(folder: Path) -> None:
    write_vocabulary(folder, vocabulary(folder)[:150])
    assert verify_folder(folder) == []


def test_added_tokens_count(folder: Path) -> None:
    rows = len(vocabulary(folder))
    (folder / "added_tokens.json").write_text(json.dumps({"[NEW]": rows}))
    assert "the tokenizer does not belong" in said(folder)


def test_special_tokens_missing(folder: Path) -> None:
    tokens = [token if token not in ("[CLS]", "[PAD]") else token.lower() for token in vocabulary(folder)]
    write_vocabulary(folder, tokens)
    text = said(folder)
    assert "cls_token '[CLS]', pad_token '[PAD]'" in text
    (folder / "tokenizer_config.json").write_text("{}")
    assert "cls_token '[CLS]', pad_token '[PAD]'" in said(folder)  # what a BERT without own names is given


def test_unigram_vocabulary_is_read(folder: Path) -> None:
    pieces = [[token, -1.0] for token in vocabulary(folder)] + [["too", -1.0], ["many", -1.0]]
    change_json(folder / "tokenizer.json", model={"type": "Unigram", "vocab": pieces, "unk_id": 1})
    assert "ids would be out of range" in said(folder)


def test_broken_tokenizer_file(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"model": {}}')
    assert "tokenizer.json holds no vocabulary" in said(folder)


def test_broken_files_beside_the_tokenizer(folder: Path) -> None:
    change_json(folder / "tokenizer_config.json", added_tokens_decoder={"0": "no object"})
    assert "tokenizer.json holds no vocabulary" in said(folder)


def test_all_faults_at_once(folder: Path) -> None:
    change_json(folder / "config.json", model_type="bertt")
    truncate(folder)
    (folder / "tokenizer.json").unlink()
    assert len(verify_folder(folder)) == 3


def test_read_header_agrees_with_safetensors(folder: Path) -> None:
    from safetensors import safe_open

    header = read_header(folder / "model.safetensors")
    with safe_open(folder / "model.safetensors", framework="numpy") as weights:
        assert {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()} == {  # noqa: SIM118
            name: tensor.shape for name, tensor in header.items()
        }
