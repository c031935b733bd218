"""Sequence to sequence with T5, BART and Marian: the loss and the tokens are those of plain transformers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from feinschliff.config.evaluation import EvaluationConfig
from feinschliff.data.examples import Example, Place, Splits
from feinschliff.engine import loop
from feinschliff.engine.batching import epoch_order, micro_batches
from feinschliff.engine.events import Evaluated
from feinschliff.engine.source_targets import PairedBatch
from feinschliff.engine.step import backward
from feinschliff.errors import ConfigError, Interrupted, ModelError
from feinschliff.lifecycle.embedding import FrozenEncoder
from feinschliff.lifecycle.finish import whole_weights
from feinschliff.lifecycle.prepare import Prepared, context_of
from feinschliff.results.verdicts import verdict
from feinschliff.tasks.sequence_to_sequence import SequenceToSequenceConfig, create
from tests.conftest import save_tiny_tokenizer
from tests.numerics.tiny_runs import (
    METHODS,
    hash_of,
    largest_difference,
    made_fit,
    made_run,
    made_splits,
    resolved,
    train_to_end,
    weights_of,
)

FAMILIES = ("t5", "bart", "marian")
TASK = {"type": "sequence_to_sequence", "max_target_tokens": 16}
SIZES = {"d_model": 32, "max_position_embeddings": 128} | {
    f"{side}_{part}": number
    for side in ("encoder", "decoder")
    for part, number in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 64))
}


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory, tiny_bart: Path) -> dict[str, Path]:
    """A model folder of each family."""
    from transformers import MarianConfig, MarianMTModel, T5Config, T5ForConditionalGeneration

    found = {"bart": tiny_bart}
    for family in ("t5", "marian"):
        found[family] = tmp_path_factory.mktemp(family)
        vocabulary = save_tiny_tokenizer(found[family], eos_token="[SEP]")
        ids = {
            "vocab_size": len(vocabulary),
            "pad_token_id": vocabulary["[PAD]"],
            "eos_token_id": vocabulary["[SEP]"],
            "decoder_start_token_id": vocabulary["[PAD]"],
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            model: Any
            if family == "t5":
                model = T5ForConditionalGeneration(
                    T5Config(**ids, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, initializer_factor=0.3)
                )
            else:
                model = MarianMTModel(
                    MarianConfig(**ids, **SIZES, init_std=0.1, forced_eos_token_id=vocabulary["[SEP]"])
                )
                model.final_logits_bias.copy_(0.1 * torch.randn(1, len(vocabulary)))
            model.save_pretrained(found[family])
    return found


@pytest.fixture(params=FAMILIES)
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    """Of each family in turn."""
    return folders[request.param]


def run_of(folder: Path, path: Path, splits: Splits | None = None, **changes: Any) -> Prepared:
    """A run on texts."""
    task = {**TASK, **changes.pop("task", {})}
    return made_run(folder, path, splits or made_splits(kind="texts"), task=task, **changes)


def plain_loss(folder: Path, examples: list[Example], prefix: str = "") -> tuple[float, int]:
    """Summed cross-entropy of plain transformers, and how many target tokens."""
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    rows = tokenizer([prefix + row.texts[0] for row in examples], padding=True, return_tensors="pt")
    targets = tokenizer(text_target=[row.references[0] for row in examples], padding=True, return_tensors="pt")
    labels = targets["input_ids"].masked_fill(targets["attention_mask"] == 0, -100)
    with torch.no_grad():
        out = model(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"], labels=labels)
    count = int((labels != -100).sum())
    return float(out.loss) * count, count


def test_loss_is_that_of_transformers(folder: Path, tmp_path: Path) -> None:
    splits = made_splits(kind="texts", longest=6)
    prepared = run_of(folder, tmp_path, splits, task={"prefix": "please change "}, label_smoothing=0.0)
    batch = prepared.learner.table.collate(np.arange(12), prepared.learner.targets)
    out = prepared.task.loss(prepared.network.eval(), batch)
    expected, count = plain_loss(folder, splits.train[:12], "please change ")
    assert out.num_targets == count
    assert float(out.loss_sum.detach()) / count == pytest.approx(expected / count, abs=1e-5)


def test_validation_gives_the_mean_loss_and_what_is_written(folder: Path, tmp_path: Path) -> None:
    splits = made_splits(kind="texts", longest=6)
    prepared = run_of(folder, tmp_path, splits)
    loss, chrf = prepared.validate()
    expected, count = plain_loss(folder, splits.validation)
    assert loss == pytest.approx(expected / count, abs=1e-5)
    assert 0.0 <= chrf < 0.5


def test_smoothing_is_for_training_alone(folder: Path, tmp_path: Path) -> None:
    prepared = run_of(folder, tmp_path, label_smoothing=0.3)
    batch = prepared.learner.table.collate(np.arange(12), prepared.learner.targets)
    logits = prepared.network.eval()(batch)
    for training, smoothing in ((False, 0.0), (True, 0.3)):
        out = prepared.task.loss(prepared.network.train(training), batch)
        wanted = torch.nn.functional.cross_entropy(logits, batch.targets, label_smoothing=smoothing, reduction="sum")
        torch.testing.assert_close(out.loss_sum, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_eight_times_one_is_one_times_eight(folders: dict[str, Path], tmp_path: Path, family: str) -> None:
    splits = made_splits(kind="texts")
    common = {"max_steps": 4, "adam_epsilon": 1e-4, "task": TASK}
    single = train_to_end(folders[family], tmp_path / "a", splits, micro_batch_tokens=24, **common)
    rows = epoch_order(len(splits.train), 0, 0)[:8]
    assert len(list(micro_batches(rows, single.learner.table.lengths, 24))) > 4
    whole = train_to_end(folders[family], tmp_path / "b", splits, micro_batch_tokens=10**6, **common)
    assert largest_difference(weights_of(single), weights_of(whole)) < 5e-6


def test_a_row_costs_its_source_and_its_target(folders: dict[str, Path], tmp_path: Path) -> None:
    table = run_of(folders["t5"], tmp_path).learner.table
    batch = table.collate(np.arange(8))
    assert isinstance(batch, PairedBatch)
    assert batch.num_tokens == table.lengths[:8].sum() == len(batch.ids_T) + len(batch.target_ids_T)


def test_learned_by_heart_and_written(folder: Path, tmp_path: Path) -> None:
    """Forty rows with one word each as the target: the model writes them after some epochs."""
    splits = made_splits(kind="texts", longest=3)
    rows = [replace(row, references=(row.references[0].split()[0],)) for row in splits.train]
    splits = Splits(rows, rows[:12], [], splits.columns, [])
    changes = {"label_smoothing": 0.0, "early_stopping_patience": None, "evaluations_per_epoch": 1}
    prepared = run_of(folder, tmp_path, splits, epochs=30.0, learning_rate=3e-3, **changes)
    losses = [event for event in loop.fit(made_fit(prepared, tmp_path)) if isinstance(event, Evaluated)]
    assert losses[-1].loss < 0.5 * losses[0].loss
    assert prepared.validate()[1] > 0.6


@pytest.mark.parametrize("num_beams", [1, 3])
def test_written_folder_writes_the_same_tokens(folder: Path, tmp_path: Path, num_beams: int) -> None:
    """And keeps what is shared shared."""
    splits = made_splits(24, 6, kind="texts", longest=6)
    prepared = run_of(folder, tmp_path, splits, task={"num_beams": num_beams}, learning_rate=3e-3, epochs=30.0,
                      early_stopping_patience=None)  # fmt: skip
    list(loop.fit(made_fit(prepared, tmp_path)))
    written = tmp_path / "model"
    weights = whole_weights(prepared, prepared.learner.masters.named(), resolved(folder))
    prepared.task.save_native(prepared.network, weights, written)
    plain, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(written).eval(), AutoTokenizer.from_pretrained(written)
    assert plain.lm_head.weight is plain.get_input_embeddings().weight
    assert "lm_head.weight" not in load_file(written / "model.safetensors")
    finished = create(SequenceToSequenceConfig(**{**TASK, "num_beams": num_beams}), prepared.task.context)  # type: ignore[arg-type]
    network = finished.load_finished(written, None).eval()
    ours = finished.written(network, splits.validation, 128)
    rows = tokenizer([row.texts[0] for row in splits.validation], padding=True, return_tensors="pt")
    with torch.no_grad():
        ids = plain.generate(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"])
    assert ours == [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]
    assert len(set(ours)) > 1
    with torch.no_grad():
        theirs = finished.plain_outputs(written, splits.validation)
    np.testing.assert_allclose(finished.own_outputs(network, splits.validation, 128), theirs, atol=1e-5)


def test_marians_positions_and_bias_are_kept(folders: dict[str, Path], tmp_path: Path) -> None:
    prepared = run_of(folders["marian"], tmp_path, precision="bf16")
    assert not any("embed_positions" in name for name in prepared.learner.masters.names)
    list(loop.fit(made_fit(prepared, tmp_path)))
    weights = whole_weights(prepared, prepared.learner.masters.named(), resolved(folders["marian"]))
    prepared.task.save_native(prepared.network, weights, tmp_path / "model")
    before, after = (AutoModelForSeq2SeqLM.from_pretrained(path) for path in (folders["marian"], tmp_path / "model"))
    assert torch.equal(before.final_logits_bias, after.final_logits_bias)
    assert torch.equal(before.model.encoder.embed_positions.weight, after.model.encoder.embed_positions.weight)
    assert not torch.equal(before.model.shared.weight, after.model.shared.weight)


def test_states_of_a_frozen_encoder_are_kept_and_change_nothing(folder: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "method": METHODS["frozen_layers"],
        "max_steps": 4,
        "adam_epsilon": 1e-4,
        "model": {"dropout": 0.1},
    }
    splits = made_splits(kind="texts")
    kept = run_of(folder, tmp_path / "a", splits, **changes)
    anew = run_of(folder, tmp_path / "b", splits, prefix_cache="off", **changes)
    assert kept.learner.cache is not None
    assert anew.learner.cache is None
    assert kept.learner.cache.outputs.shape == (kept.learner.table.sources.offsets[-1], 32)  # type: ignore[attr-defined]
    weights = []
    for prepared, path in ((kept, tmp_path / "a"), (anew, tmp_path / "b")):
        list(loop.fit(made_fit(prepared, path)))
        weights.append({name: value.clone() for name, value in prepared.learner.masters.named().items()})
    assert largest_difference(*weights) < 1e-6


def test_depths_go_from_embeddings_over_the_encoder_to_the_decoder(folder: Path, tmp_path: Path) -> None:
    network = run_of(folder, tmp_path).network
    depths = {name: network.depth_of(name) for name, _ in network.named_parameters()}
    assert set(depths.values()) == set(range(network.body.num_layers + 1))
    for name, depth in depths.items():
        if ".encoder." in name and "embed" not in name:
            assert 1 <= depth <= network.body.num_encoder_layers, name
        elif ".decoder." in name and "embed" not in name:
            assert depth > network.body.num_encoder_layers, name
        else:
            assert depth == 0, name


def test_a_projection_of_its_own_counts_to_the_last_layer_and_gets_no_adapter(tmp_path: Path) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    folder = tmp_path / "untied"
    vocabulary = save_tiny_tokenizer(folder, eos_token="[SEP]")
    config = T5Config(
        vocab_size=len(vocabulary), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, tie_word_embeddings=False,
        decoder_start_token_id=0, eos_token_id=vocabulary["[SEP]"],
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)
    network = run_of(folder, tmp_path / "a", method=METHODS["lora"]).network
    assert network.depth_of("body.model.lm_head.weight") == network.body.num_layers
    assert not any("lm_head" in name for name, p in network.named_parameters() if p.requires_grad)
    assert not any(p.requires_grad and network.depth_of(name) == 0 for name, p in network.named_parameters())


def test_lora_folder_is_loaded_by_peft(folder: Path, tmp_path: Path) -> None:
    splits = made_splits(kind="texts")
    prepared = run_of(folder, tmp_path, splits, method=METHODS["lora"])
    list(loop.fit(made_fit(prepared, tmp_path)))
    base = prepared.task.load_model(prepared.config.model, folder)
    prepared.method.adapt(base)
    weights = {name: p.detach() for name, p in base.named_parameters()} | prepared.learner.masters.named()
    assert prepared.method.save_adapter(base, weights, tmp_path / "adapter", str(folder))
    merged = prepared.method.merged_weights(base, weights)
    prepared.task.save_native(base, merged, tmp_path / "model")
    adapted = PeftModel.from_pretrained(AutoModelForSeq2SeqLM.from_pretrained(folder), tmp_path / "adapter").eval()
    assert type(adapted).__name__ == "PeftModelForSeq2SeqLM"
    whole = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model").eval()
    ids = torch.tensor([[7, 30, 41, 3]])
    with torch.no_grad():
        one, other = (model(input_ids=ids, labels=ids).logits for model in (adapted, whole))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_t5_has_no_biases_for_bitfit(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no biases"):
        run_of(folders["t5"], tmp_path, method=METHODS["bitfit"])


def test_stopped_and_resumed_is_the_run_left_alone(folders: dict[str, Path], tmp_path: Path) -> None:
    def start(path: Path) -> loop.Fit:
        changes = {"checkpoint_every_steps": 2, "model": {"dropout": 0.2}}
        fit = made_fit(run_of(folders["marian"], path, **changes), path)
        loop.resume(fit)
        return fit

    alone = start(tmp_path / "alone")
    list(loop.fit(alone))
    stopped = start(tmp_path / "a")
    stopped.stop_requested = lambda: stopped.state.step >= 5
    with pytest.raises(Interrupted):
        list(loop.fit(stopped))
    again = start(tmp_path / "a")
    assert again.state.step == 5
    list(loop.fit(again))
    assert hash_of(again) == hash_of(alone)
    assert [point.model_dump() for point in again.state.curve] == [point.model_dump() for point in alone.state.curve]


def test_dropout_draws_in_trained_parts_alone(folder: Path, tmp_path: Path) -> None:
    def draws(method: str) -> list[float]:
        prepared = run_of(folder, tmp_path / method, method=METHODS[method], model={"dropout": 0.3})
        rows = np.arange(8)
        prepared.network.train()
        found = []
        for seed in range(2):
            torch.manual_seed(seed)
            found.append(backward(prepared.learner, rows).loss_sum)
        return found

    one, other = draws("full")
    assert one != other
    network = run_of(folder, tmp_path / "x", method=METHODS["frozen_layers"], model={"dropout": 0.3}).network.train()
    assert not any(module.training for module in network.body.model.get_encoder().modules())
    assert network.body.model.get_decoder().training


def test_what_is_cut_is_counted_and_said(folders: dict[str, Path], tmp_path: Path) -> None:
    splits = made_splits(kind="texts", longest=30)
    prepared = run_of(folders["bart"], tmp_path, splits, task={"max_target_tokens": 5}, model={"max_length_tokens": 10})
    tokenizer, table = prepared.task.loaded.tokenizer, prepared.learner.table
    sources = [len(ids) for ids in tokenizer([row.texts[0] for row in splits.train])["input_ids"]]
    targets = [len(ids) for ids in tokenizer([row.references[0] for row in splits.train])["input_ids"]]
    said = "\n".join(prepared.announcements)
    assert f"{sum(n > 10 for n in sources)} training and" in said
    assert f"{sum(n > 5 for n in targets)} training targets are longer" in said
    assert table.sources.lengths.max() == 10  # type: ignore[attr-defined]
    assert table.targets.lengths.max() == 5  # type: ignore[attr-defined]
    ends = table.targets.ids[table.targets.offsets[1:] - 1]  # type: ignore[attr-defined]
    assert set(ends.tolist()) == {tokenizer.eos_token_id}


def test_an_encoder_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not an encoder-decoder") as caught:
        run_of(tiny_bert, tmp_path)
    assert "t5-small" in str(caught.value)


def test_a_tokenizer_without_an_end_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "endless"
    AutoModelForSeq2SeqLM.from_pretrained(folders["t5"]).save_pretrained(folder)
    save_tiny_tokenizer(folder)
    with pytest.raises(ModelError, match="no token that ends"):
        run_of(folder, tmp_path / "a")


def test_rivals_and_verdict(folders: dict[str, Path], tmp_path: Path) -> None:
    splits = made_splits(kind="texts")
    prepared = run_of(folders["bart"], tmp_path, splits)
    frozen = FrozenEncoder(prepared.config, resolved(folders["bart"]), context_of(prepared.config, splits))
    notes: list[str] = []
    copied, untuned = frozen.task.rivals(frozen, splits.train, 0, notes.append)
    rows = splits.validation
    words = round(float(np.median([len(row.references[0].split()) for row in splits.train])))
    assert copied.answers(rows[:2]) == [" ".join(row.texts[0].split()[:words]) for row in rows[:2]]
    assert frozen.seconds_per_forward > 0
    theirs = untuned.answers(rows)
    plain, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folders["bart"]).eval(), prepared.task.loaded.tokenizer
    with torch.no_grad():
        ids = plain.generate(**tokenizer(rows[0].texts[0], return_tensors="pt", return_token_type_ids=False),
                             max_new_tokens=16, num_beams=1)  # fmt: skip
    if prepared.precision == "fp32" and next(frozen.network.parameters()).dtype == torch.float32:
        assert theirs[0] == tokenizer.decode(ids[0], skip_special_tokens=True).strip()
    perfect = [row.references[0] for row in rows]
    evidence = frozen.task.compare("chrf", "untuned model", rows, perfect, theirs, EvaluationConfig())
    assert verdict(evidence).verdict == "ship"
    judged = frozen.task.judge(theirs, rows, "rouge_l", EvaluationConfig(worst_examples=3))
    assert next(iter(judged.metrics)) == "rouge_l"
    assert set(judged.metrics) == {"chrf", "bleu", "rouge_1", "rouge_2", "rouge_l"}
    assert len(judged.worst) == 3


def test_several_references_are_all_right(folders: dict[str, Path], tmp_path: Path) -> None:
    task = run_of(folders["bart"], tmp_path).task
    rows = [Example(("a",), (), Place("f", n), references=("good day", "hello there")) for n in range(4)]
    assert task.score(["hello there"] * 4, rows, "chrf") == pytest.approx(1.0)
    assert task.score(["hello there"] * 4, rows, "rouge_l") == pytest.approx(1.0)
