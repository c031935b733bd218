"""Models as their authors publish them: Marian's two SentencePiece models; what comes out of odd folders."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from feinschliff.data.examples import Splits
from feinschliff.engine import loop
from feinschliff.errors import ModelError
from feinschliff.lifecycle.finish import whole_weights
from feinschliff.models import load
from feinschliff.models.encoder_decoder import is_encoder_decoder, load_encoder_decoder
from tests.conftest import TINY_TEXT
from tests.numerics.tiny_runs import made_fit, made_splits, resolved
from tests.tasks.test_sequence_to_sequence import SIZES, run_of


@pytest.fixture(scope="session")
def opus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as Helsinki-NLP has them: a SentencePiece model a side over one vocabulary."""
    import sentencepiece
    from transformers import MarianConfig, MarianMTModel, MarianTokenizer

    folder = tmp_path_factory.mktemp("opus")
    pieces: dict[str, None] = {}
    for side in ("source", "target"):
        words = [word if side == "source" else word[::-1] for word in TINY_TEXT.split()]
        lines = [" ".join(words[begin : begin + 6]) for begin in range(len(words) - 6)]
        made = {"model_prefix": str(folder / side), "vocab_size": 150, "hard_vocab_limit": False, "minloglevel": 2}
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), **made)
        (folder / f"{side}.model").rename(folder / f"{side}.spm")
        model = sentencepiece.SentencePieceProcessor(str(folder / f"{side}.spm"))
        pieces |= dict.fromkeys(model.id_to_piece(number) for number in range(3, model.get_piece_size()))
    vocabulary = {token: number for number, token in enumerate(["</s>", "<unk>", *pieces, "<pad>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    files = [str(folder / name) for name in ("source.spm", "target.spm", "vocab.json")]
    MarianTokenizer(*files, source_lang="en", target_lang="xx", model_max_length=64).save_pretrained(folder)
    pad = vocabulary["<pad>"]
    ids = {"pad_token_id": pad, "eos_token_id": 0, "decoder_start_token_id": pad, "forced_eos_token_id": 0}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        config = MarianConfig(vocab_size=len(vocabulary), **SIZES, **ids, init_std=0.1)
        MarianMTModel(config).save_pretrained(folder)
    return folder


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
def test_marians_own_tokenizer_reads_and_writes_two_languages(opus: Path, tmp_path: Path) -> None:
    splits = made_splits(24, 6, kind="texts", longest=4)
    backwards = [replace(row, references=(row.texts[0].split()[0][::-1],)) for row in splits.train]
    splits = Splits(backwards, backwards[:6], [], splits.columns, [])
    prepared = run_of(opus, tmp_path, splits, epochs=30.0, learning_rate=3e-3, early_stopping_patience=None)
    tokenizer, table = prepared.task.loaded.tokenizer, prepared.learner.table
    first = table.targets.ids[: table.targets.offsets[1]].tolist()  # type: ignore[attr-defined]
    assert first == tokenizer(text_target=backwards[0].references[0])["input_ids"]
    assert first != tokenizer(backwards[0].references[0])["input_ids"]
    list(loop.fit(made_fit(prepared, tmp_path)))
    weights = whole_weights(prepared, prepared.learner.masters.named(), resolved(opus))
    prepared.task.save_native(prepared.network, weights, tmp_path / "model")
    plain, again = (kind.from_pretrained(tmp_path / "model") for kind in (AutoModelForSeq2SeqLM, AutoTokenizer))
    rows = again([row.texts[0] for row in backwards], padding=True, return_tensors="pt")
    ids = plain.eval().generate(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"])
    written = [text.strip() for text in again.batch_decode(ids, skip_special_tokens=True)]
    assert written == prepared.task.written(prepared.network, backwards, 64)
    assert np.mean([text == row.references[0] for text, row in zip(written, backwards, strict=True)]) > 0.5


def test_a_missing_package_is_named(opus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("MarianTokenizer requires the SentencePiece library")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", missing)
    monkeypatch.setattr(load.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        load.load_tokenizer(opus)
    assert 'pip install "feinschliff[translation]"' in str(caught.value)


def test_settings_of_the_old_task_are_left_behind(opus: Path, tmp_path: Path) -> None:
    """Lengths and penalties tuned for other texts would be obeyed by ``generate``."""
    from transformers import GenerationConfig

    plain = AutoModelForSeq2SeqLM.from_pretrained(opus)
    wanted = GenerationConfig(**plain.generation_config.to_diff_dict())
    wanted.update(num_beams=4, length_penalty=2.0, min_length=56, no_repeat_ngram_size=3, bad_words_ids=[[3]])
    plain.generation_config = wanted
    plain.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(opus).save_pretrained(tmp_path)
    settings = load_encoder_decoder(tmp_path, 0.0).body.model.generation_config
    assert settings.bad_words_ids == [[3]]
    assert settings.forced_eos_token_id == 0
    assert (settings.num_beams, settings.min_length, settings.no_repeat_ngram_size) == (1, None, None)


def test_the_configuration_says_what_has_a_decoder(opus: Path, tiny_bert: Path, tmp_path: Path) -> None:
    assert is_encoder_decoder(opus)
    assert not is_encoder_decoder(tiny_bert)
    assert not is_encoder_decoder(tmp_path)
