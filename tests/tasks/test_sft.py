"""Supervised fine-tuning: what is learned of conversations is found by hand; losses and gradients are transformers'."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from feinschliff.data.conversations import Conversation, Message, WeightedSpan
from feinschliff.data.examples import Example, Place, Splits
from feinschliff.engine import loop
from feinschliff.engine.batching import NO_TARGET, TokenTargets, epoch_order, micro_batches
from feinschliff.engine.step import backward
from feinschliff.errors import PreflightError
from feinschliff.lifecycle.prepare import Prepared
from feinschliff.models.decoder import StagedDecoder
from feinschliff.tasks._chat_encoding import ChatSet
from feinschliff.tasks._sft import Sft
from tests.models.chat_tokenizers import THOUGHT, tokenizer_for
from tests.models.tiny_decoders import save_tiny_decoder
from tests.numerics.tiny_runs import (
    METHODS,
    largest_difference,
    made_config,
    made_fit,
    made_run,
    made_splits,
    resolved,
    train_to_end,
    weights_of,
)

TASK = {"type": "sft"}
LIMIT = 200
IGNORED = -100


def conversation(*said: str, weights: dict[int, float] | None = None, roles: str = "ua") -> Example:
    """User and assistant in turn, or the roles whose first letters are given."""
    names = {"u": "user", "a": "assistant", "s": "system"}
    messages = [Message(names[roles[n % len(roles)]], text, (weights or {}).get(n)) for n, text in enumerate(said)]
    return Example((said[0],), (), Place("made-up", 1), conversation=Conversation(tuple(messages)))


def run_of(folder: Path, path: Path, splits: Splits | None = None, **changes: Any) -> Prepared:
    """A run on conversations."""
    task = {**TASK, **changes.pop("task", {})}
    return made_run(folder, path, splits or made_splits(24, 8, "conversations"), task=task, **changes)


@pytest.fixture(scope="module")
def gemma2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Capped scores, capped logits, sliding windows, one table for both ends."""
    return save_tiny_decoder(tmp_path_factory.mktemp("gemma2"), "gemma2")


@pytest.fixture
def task(tiny_decoder: Path, tmp_path: Path) -> Sft:
    """Ready to encode."""
    found: Sft = run_of(tiny_decoder, tmp_path).task
    return found


def sft(folder: Path, path: Path, **options: Any) -> Sft:
    """The same with options of its own."""
    found: Sft = run_of(folder, path, task=options).task
    return found


def rows_of(encoded: ChatSet) -> list[tuple[list[int], list[int], list[float]]]:
    """Of each row: ids, targets, weights."""
    table, targets = encoded.table, encoded.targets
    assert isinstance(targets, TokenTargets)
    weights = np.ones(len(targets.values)) if targets.weights is None else targets.weights
    cuts = table.offsets  # type: ignore[attr-defined]
    parts = [slice(start, end) for start, end in pairwise(cuts)]
    return [
        (table.ids[part].tolist(), targets.values[part].tolist(), weights[part].tolist())  # type: ignore[attr-defined]
        for part in parts
    ]


def labels_of(tokenizer: Any, example: Example) -> tuple[list[int], list[int]]:
    """Ids and labels as TRL has them, by searching ChatML's markers: answers with the token that ends them."""
    assert example.conversation is not None
    messages = [message.as_given() for message in example.conversation.messages]
    ids = tokenizer(tokenizer.apply_chat_template(messages, tokenize=False), add_special_tokens=False)["input_ids"]
    header = tokenizer("<|im_start|>assistant\n", add_special_tokens=False)["input_ids"]
    end, labels, place = tokenizer.convert_tokens_to_ids("<|im_end|>"), [IGNORED] * len(ids), 0
    while place < len(ids):
        if ids[place : place + len(header)] == header:
            place += len(header)
            stop = ids.index(end, place) + 1
            labels[place:stop] = ids[place:stop]
            place = stop
        else:
            place += 1
    return ids, labels


def padded(tokenizer: Any, examples: list[Example]) -> dict[str, Tensor]:
    """A batch as others make it: padded to the right, with a mask."""
    rows = [labels_of(tokenizer, example) for example in examples]
    longest = max(len(ids) for ids, _ in rows)
    ids, labels, mask = (
        torch.stack([F.pad(torch.tensor(row), (0, longest - len(row)), value=fill) for row in each])
        for each, fill in (
            ([ids for ids, _ in rows], 0),
            ([labels for _, labels in rows], IGNORED),
            ([[1] * len(ids) for ids, _ in rows], 0),
        )
    )
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


def test_targets_are_the_next_tokens_of_answers(task: Sft) -> None:
    examples = made_splits(24, 8, "conversations").train
    assert {len(example.conversation.messages) for example in examples if example.conversation} == {2, 3, 4, 5}
    encoded = task.encode(examples, LIMIT)
    assert encoded.owner.tolist() == list(range(24))
    for (ids, targets, weights), example in zip(rows_of(encoded), examples, strict=True):
        whole, labels = labels_of(task.loaded.tokenizer, example)  # type: ignore[union-attr]
        assert ids == whole[: len(ids)]
        assert targets == labels[1 : len(ids) + 1]
        assert all(label == IGNORED for label in labels[len(ids) + 1 :])
        assert set(weights) == {1.0}
    assert (encoded.num_cut, encoded.notes, encoded.faults) == (0, [], [])


def test_what_stands_behind_the_last_target_is_not_computed(task: Sft) -> None:
    examples = [
        conversation("Hello", "I am fine."),
        conversation("Hello", "I am fine.", "And now something long that nobody answers"),
        conversation("Hello", "I am fine.", "And?", "This is context only.", weights={3: 0.0}),
    ]
    rows = rows_of(task.encode(examples, LIMIT))
    assert rows[0] == rows[1] == rows[2]
    assert rows[0][1][-1] == task.loaded.tokenizer.convert_tokens_to_ids("<|im_end|>")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("loss_on", "learned"),
    [(("assistant",), "ab"), (("last",), "b"), (("user", "assistant"), "qaQb"), (("all",), None)],
    ids=str,
)
def test_what_is_asked_for_is_learned(
    tiny_decoder: Path, tmp_path: Path, loss_on: tuple[str, ...], learned: str | None
) -> None:
    task = sft(tiny_decoder, tmp_path, loss_on=loss_on)
    tokenizer = task.loaded.tokenizer  # type: ignore[union-attr]
    ((ids, targets, _),) = rows_of(task.encode([conversation("q", "a", "Q", "b")], LIMIT))
    text = tokenizer.decode([target for target in targets if target != NO_TARGET])
    if learned is None:
        assert text.startswith("user\nq<|im_end|>")
        assert targets[:-1] == ids[1:]
    else:
        assert text.replace("<|im_end|>", "").replace("user", "").replace("\n", "") == learned


def test_weights_of_messages_and_of_their_parts(task: Sft) -> None:
    """Losses are multiplied by them, and the mean is over the weights."""
    plain = conversation("Hello", "I am fine.", "And you?", "Well", weights={3: 0.25})
    chat = conversation("Hello", "I am fine.").conversation
    assert chat is not None
    spans = replace(chat.messages[1], spans=(WeightedSpan(0, 4, 0.5),))
    parted = replace(plain, conversation=Conversation((chat.messages[0], spans)))
    encoded = task.encode([plain, parted, conversation("Hello", "So?")], LIMIT)
    weights = [
        {weight for target, weight in zip(targets, given, strict=True) if target != NO_TARGET}
        for _, targets, given in rows_of(encoded)
    ]
    assert weights == [{1.0, 0.25}, {1.0, 0.5}, {1.0}]
    batch = encoded.table.collate(np.arange(3), encoded.targets)
    network = _network(task)
    out = task.loss(network, batch)
    at = batch.targets != NO_TARGET  # type: ignore[operator]
    logits = network(batch)[at] @ network.body.projection.weight.T
    each = F.cross_entropy(logits, batch.targets[at], reduction="none")  # type: ignore[index]
    assert batch.weights_T is not None
    assert float(out.loss_sum.detach()) == pytest.approx(float((each * batch.weights_T[at]).sum().detach()), rel=1e-5)
    assert out.num_targets == pytest.approx(float(batch.weights_T[at].sum()))
    assert out.num_targets < int(at.sum())


def _network(task: Sft) -> Any:
    from feinschliff.tasks._decoder_network import DecoderNetwork

    assert task.loaded is not None
    return DecoderNetwork(task.loaded.body).eval()


def test_windows_learn_every_target_once(tiny_decoder: Path, tmp_path: Path) -> None:
    examples = made_splits(6, 2, "documents", longest=60).train
    task = sft(tiny_decoder, tmp_path)
    whole, cut = task.encode(examples, 4096), task.encode(examples, 20)
    long = [number for number, (ids, _, _) in enumerate(rows_of(whole)) if len(ids) > 20]
    assert cut.num_cut == len(long) == 5
    assert cut.notes == ["5 rows are longer than 20 tokens and were read in windows"]
    assert max(len(ids) for ids, _, _ in rows_of(cut)) == 20
    for number, (ids, targets, _) in enumerate(rows_of(whole)):
        parts = [row for row, owner in zip(rows_of(cut), cut.owner, strict=True) if owner == number]
        assert (len(parts) > 1) is (number in long)
        assert [token for part, _, _ in parts for token in part] == ids
        assert [target for _, part, _ in parts for target in part] == targets
        assert NO_TARGET not in targets
        assert targets[-1] == task.loaded.tokenizer.eos_token_id  # type: ignore[union-attr]


def test_windows_may_end_anywhere(tiny_decoder: Path, tmp_path: Path) -> None:
    """Also where an answer's last token is the last of a window, and nothing is learned behind it."""
    task = sft(tiny_decoder, tmp_path, long_rows="window")
    examples = [conversation("Hello", "I am fine.", "That is good, and it is a long story that I will tell you now.")]
    ((_, whole, _),) = rows_of(task.encode(examples, 4096))
    for limit in range(4, 30):
        rows = rows_of(task.encode(examples, limit))
        assert all(0 < len(ids) <= limit for ids, _, _ in rows)
        assert [t for _, targets, _ in rows for t in targets if t >= 0] == [t for t in whole if t >= 0]


@pytest.mark.parametrize(
    ("long_rows", "kept", "said"),
    [("auto", [0], "dropped"), ("drop", [0], "dropped"), ("cut", [0, 1], "cut"), ("window", [0, 1, 2, 2], "windows")],
)
def test_long_rows(tiny_decoder: Path, tmp_path: Path, long_rows: str, kept: list[int], said: str) -> None:
    task = sft(tiny_decoder, tmp_path, long_rows=long_rows)
    examples = [
        conversation("Hello", "Yes"),
        conversation("Hello", "I am fine and say so at some length, as one sees."),
        conversation("Hello. This question is so long that no answer is left of it, sadly. " * 2, "Yes. " * 40),
    ]
    whole, encoded = task.encode(examples, 4096), task.encode(examples, 40)
    owners = list(dict.fromkeys(encoded.owner.tolist()))
    assert owners == sorted(set(kept))
    assert encoded.num_cut == 2
    assert any(said in note for note in encoded.notes)
    rows, full = rows_of(encoded), rows_of(whole)
    assert all(len(ids) <= 40 for ids, _, _ in rows)
    assert all(targets[-1] != NO_TARGET for _, targets, _ in rows)
    if long_rows == "cut":
        assert rows[1][:2] == tuple(part[:40] for part in full[1][:2])
    if long_rows == "window":
        learned = [[t for (_, ts, _), o in zip(rows, encoded.owner, strict=True) if o == n for t in ts if t >= 0]
                   for n in range(3)]  # fmt: skip
        assert learned == [[t for t in targets if t >= 0] for _, targets, _ in full]


def test_all_reasons_why_nothing_can_be_learned_come_at_once(tiny_decoder: Path, tmp_path: Path) -> None:
    template = tmp_path / "endless.jinja"
    template.write_text("{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
                        "{% if add_generation_prompt %}assistant: {% endif %}", encoding="utf-8")  # fmt: skip
    examples = [conversation("Hello", "Yes" * 100), conversation("Hello"), conversation("Hello", "Yes")]
    splits = replace(made_splits(2, 2, "conversations"), train=examples)
    with pytest.raises(PreflightError) as caught:
        run_of(tiny_decoder, tmp_path, splits, task={"chat_template": str(template)}, model={"max_length_tokens": 30})
    said = str(caught.value)
    assert "2 of 3 rows have no token that carries loss" in said
    assert "1 are longer than 30 tokens" in said
    assert "answers end with no special token" in said
    assert "made-up:1, message 2" in said
    assert "--task.long-rows window" in said


def test_rows_that_teach_nothing_are_counted(task: Sft) -> None:
    examples = [conversation("Hello", "Yes"), conversation("Hello"), conversation("Hello", "Yes", weights={1: 0.0})]
    encoded = task.encode([*examples, *examples[:1]], LIMIT)
    assert encoded.owner.tolist() == [0, 3]
    assert any("2 rows teach nothing" in note for note in encoded.notes)
    assert encoded.faults == []
    (fault,) = task.encode([examples[1]], LIMIT).faults
    assert "1 of 1 rows have no token that carries loss" in fault.what


def test_tool_calls_that_the_template_leaves_out_are_refused(task: Sft) -> None:
    call = {"type": "function", "function": {"name": "look", "arguments": {"at": "it"}}}
    asked = conversation("Hello", "")
    answer = replace(asked.conversation.messages[1], extra={"tool_calls": [call]})  # type: ignore[union-attr]
    chat = replace(asked.conversation, messages=(asked.conversation.messages[0], answer))  # type: ignore[union-attr,type-var]
    (fault,) = task.encode([replace(asked, conversation=chat), conversation("Hello", "Yes")], LIMIT).faults
    assert fault.what == "1 rows have tool calls, which the chat template does not write"


def test_answers_that_are_mostly_cut_are_refused(tiny_decoder: Path, tmp_path: Path) -> None:
    cutting = sft(tiny_decoder, tmp_path, long_rows="cut")
    examples = [conversation("Hello", "Yes " * 40), conversation("Hello", "No " * 40), conversation("Hi", "Yes")]
    (fault,) = cutting.encode(examples, 20).faults
    assert fault.what == "2 of 3 rows are cut before their answers end"
    assert cutting.encode(examples[1:], 20).faults == []


def test_a_run_that_never_trains_an_end_is_refused(task: Sft, tiny_decoder: Path, tmp_path: Path) -> None:
    asked = conversation("Hello", "Yes and no", weights={1: 0.0})
    assert asked.conversation is not None
    user, answer = asked.conversation.messages
    chat = replace(asked.conversation, messages=(user, replace(answer, spans=(WeightedSpan(0, 3, 1.0),))))
    parts = replace(asked, conversation=chat)
    (fault,) = task.encode([parts, parts], LIMIT).faults
    assert fault.what == "none of 2 rows trains the token that ends an answer"
    assert task.encode([parts, conversation("Hello", "Yes")], LIMIT).faults == []
    asking = sft(tiny_decoder, tmp_path / "users", loss_on=("user",))
    assert asking.encode([conversation("Hello", "Yes")], LIMIT).faults == [], "the end of what the user says is one"


def test_a_first_loss_that_is_not_the_base_models_is_refused(
    tiny_decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours and transformers' forward pass on the same rows, token by token: a mean alone may be right by chance."""
    prepared = run_of(tiny_decoder, tmp_path, learning_rate=1e-2)
    list(loop.fit(made_fit(prepared, tmp_path)))  # a model that knows something
    known = prepared.task.expected_first_loss()
    modes = [part.training for part in prepared.network.modules()]
    assert known > 0
    forward = StagedDecoder.forward
    monkeypatch.setattr(
        StagedDecoder, "forward", lambda self, *given, **named: forward(self, *given, **named).roll(1, 0)
    )
    with pytest.raises(PreflightError, match="transformers' own forward pass of the same model") as caught:
        prepared.task.expected_first_loss()
    assert f"{known:.3g}" in str(caught.value)
    assert [part.training for part in prepared.network.modules()] == modes


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the template that leaves earlier reasoning out."""
    folder = save_tiny_decoder(tmp_path_factory.mktemp("qwen3"), "qwen3")
    tokenizer = tokenizer_for("qwen3", pattern=None)
    tokenizer.model_max_length = 512
    tokenizer.save_pretrained(folder)
    return folder


def thoughts() -> Example:
    messages = [Message(m["role"], m["content"], extra={k: v for k, v in m.items() if k not in ("role", "content")})
                for m in THOUGHT]  # fmt: skip
    return replace(conversation("Hello", "Yes"), conversation=Conversation(tuple(messages)))


def test_answers_that_are_rows_of_their_own_sum_to_one_answer_an_example(qwen3: Path, tmp_path: Path) -> None:
    task = sft(qwen3, tmp_path, on_mismatch="inference")
    examples = [conversation("Hello", "Fine"), thoughts(), conversation("So", "No", "And", "Yes")]
    encoded = task.encode(examples, 512)
    assert encoded.owner.tolist().count(1) == 2
    assert any("answers are rows of their own" in note for note in encoded.notes)
    network = _network(task)
    order = np.random.default_rng(0).permutation(len(encoded.table))
    outputs = np.zeros((len(order), 3), np.float32)
    with torch.no_grad():
        batch = encoded.table.collate(order, encoded.targets)
        outputs[batch.rows.numpy()] = task.predict(network, batch).numpy()
        loss = task.loss(network, batch)
    answers = task.answers(outputs, encoded)
    assert answers.sums_N3.shape == (3, 3)
    targets = [sum(t != NO_TARGET for t in row) for _, row, _ in rows_of(encoded)]
    expected = np.bincount(encoded.owner, targets)
    assert answers.sums_N3[:, 1].tolist() == expected.tolist()
    assert float(answers.sums_N3[:, 0].sum()) == pytest.approx(float(loss.loss_sum), rel=1e-5)
    assert task.validation_loss(outputs, encoded) == pytest.approx(float(loss.loss_sum) / expected.sum(), rel=1e-5)
    alone = task.encode(examples[:1], 512)
    with torch.no_grad():
        first = task.predict(network, alone.table.collate(np.arange(1), alone.targets))
    np.testing.assert_allclose(answers.sums_N3[0], first[0], rtol=1e-4)


def test_a_prompt_that_inference_would_write_otherwise_is_refused_or_learned(qwen3: Path, tmp_path: Path) -> None:
    """The prompt says that nothing is thought; some rows have thoughts."""
    quiet = {"template_arguments": ("enable_thinking=false",)}
    found = sft(qwen3, tmp_path, **quiet).encode([*[conversation("Hello", "Fine")] * 3, thoughts()], 512)
    (fault,) = found.faults
    assert fault.what == "2 answers have another prompt at inference than in training"
    assert fault.where == "made-up:1, message 2"
    assert "hm" in fault.why
    assert found.owner.tolist() == [0, 1, 2]
    task = sft(qwen3, tmp_path, on_mismatch="inference", **quiet)
    learned = task.encode([thoughts()], 512)
    assert learned.faults == []
    assert learned.notes[-1] == "2 answers are learned behind the prompt that is written at inference"
    tokenizer = task.loaded.tokenizer  # type: ignore[union-attr]
    for _, targets, _ in rows_of(learned):
        assert "hm" not in tokenizer.decode([target for target in targets if target != NO_TARGET])


@pytest.mark.parametrize("family", ["tiny_decoder", "gemma2"])
def test_the_loss_is_that_of_transformers(request: pytest.FixtureRequest, tmp_path: Path, family: str) -> None:
    folder = request.getfixturevalue(family)
    splits = made_splits(24, 8, "conversations")
    prepared = run_of(folder, tmp_path, splits)
    plain, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    given = padded(tokenizer, splits.train[:12])
    count = int((given["labels"] != IGNORED).sum())
    with torch.no_grad():
        expected = float(plain(**given).loss)
        batch = prepared.learner.table.collate(np.arange(12), prepared.learner.targets)
        out = prepared.task.loss(prepared.network.eval(), batch)
    assert out.num_targets == count
    assert float(out.loss_sum) / count == pytest.approx(expected, abs=1e-5)
    loss, metric = prepared.validate()
    with torch.no_grad():
        held_out = float(plain(**padded(tokenizer, splits.validation)).loss)
    assert loss == pytest.approx(held_out, abs=1e-5)
    assert prepared.metric == "loss"
    assert metric == pytest.approx(held_out, abs=1e-5)


def test_the_expected_loss_is_what_transformers_gives_some_rows(tiny_decoder: Path, tmp_path: Path) -> None:
    splits = made_splits(24, 8, "conversations")
    prepared = run_of(tiny_decoder, tmp_path, splits, learning_rate=1e-2)
    list(loop.fit(made_fit(prepared, tmp_path)))  # a model that knows something
    plain, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_decoder), AutoTokenizer.from_pretrained(tiny_decoder)
    weights = {name.removeprefix("body.model."): value for name, value in prepared.network.named_parameters()}
    plain.load_state_dict(weights, strict=False)
    with torch.no_grad():
        spread = [splits.train[row] for row in np.linspace(0, 23, 8).astype(int)]
        expected = float(plain.eval()(**padded(tokenizer, spread)).loss)
    assert expected < 0.8 * np.log(plain.config.vocab_size)
    assert prepared.task.expected_first_loss() == pytest.approx(expected, abs=1e-5)
    with torch.no_grad():
        prepared.network.body.model.model.norm.weight.mul_(100.0)
    assert prepared.task.expected_first_loss() == pytest.approx(np.log(plain.config.vocab_size)), (
        "no more than guessing"
    )


def randomised(parameters: list[tuple[str, Tensor]]) -> None:
    """The same numbers for B wherever the name ends alike."""
    with torch.no_grad():
        for number, (_, value) in enumerate(sorted((n, p) for n, p in parameters if ".lora_B." in n)):
            value.copy_(0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(number)))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")
@pytest.mark.parametrize("family", ["tiny_decoder", "gemma2"])
@pytest.mark.parametrize("micro_batch_tokens", [64, 10**6])
def test_gradients_of_lora_are_those_of_peft_and_transformers(
    request: pytest.FixtureRequest, tmp_path: Path, family: str, micro_batch_tokens: int
) -> None:
    folder, splits = request.getfixturevalue(family), made_splits(24, 8, "conversations")
    prepared = run_of(folder, tmp_path, splits, method=METHODS["lora"], micro_batch_tokens=micro_batch_tokens)
    assert any(said.endswith(" linear layers") for said in prepared.announcements), "there is no head of its own"
    masters = prepared.learner.masters
    randomised(list(zip(masters.names, masters.masters, strict=True)))
    masters.publish()
    rows = epoch_order(24, 0, 0)[:8]
    assert (len(list(micro_batches(rows, prepared.learner.table.lengths, micro_batch_tokens))) > 1) is (
        micro_batch_tokens == 64
    )
    prepared.network.train()
    loss = backward(prepared.learner, rows)
    ours = {name.removeprefix("body.model."): m.grad for name, m in zip(masters.names, masters.masters, strict=True)}

    config = peft.LoraConfig(r=4, lora_alpha=32.0, target_modules="all-linear")
    plain = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(folder), config)
    start = "base_model.model."
    named = {name.removeprefix(start): p for name, p in plain.named_parameters() if p.requires_grad}
    assert named.keys() == ours.keys()
    values = {name.removeprefix("body.model."): value for name, value in masters.named().items()}
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(values[name])
    given = padded(AutoTokenizer.from_pretrained(folder), [splits.train[row] for row in rows])
    out = plain.train()(**given)
    count = int((given["labels"] != IGNORED).sum())
    (out.loss * count).backward()
    assert loss.num_targets == count
    assert loss.loss_sum / count == pytest.approx(float(out.loss.detach()), abs=1e-5)
    for name, parameter in named.items():
        assert parameter.grad is not None
        mine = ours[name]
        assert mine is not None
        assert float((mine - parameter.grad).norm()) < 1e-5 * float(parameter.grad.norm()), name


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("weighted", [False, True])
def test_eight_times_one_is_one_times_eight(tiny_decoder: Path, tmp_path: Path, method: str, weighted: bool) -> None:
    splits = made_splits(24, 8, "conversations")
    if weighted:
        splits.train[3] = conversation("Hello", "I am fine.", "And you?", "Well", weights={3: 0.25})
    common = {"max_steps": 4, "adam_epsilon": 1e-4, "task": TASK, "method": METHODS[method]}
    single = train_to_end(tiny_decoder, tmp_path / "a", splits, micro_batch_tokens=16, **common)
    rows = epoch_order(len(splits.train), 0, 0)[:8]
    assert len(list(micro_batches(rows, single.learner.table.lengths, 16))) == 8
    whole = train_to_end(tiny_decoder, tmp_path / "b", splits, micro_batch_tokens=10**6, **common)
    assert largest_difference(weights_of(single), weights_of(whole)) < 2e-6
    assert single.state.loss_targets == pytest.approx(whole.state.loss_targets)


@pytest.mark.parametrize("method", ["frozen_layers", "upper lora"])
def test_layers_below_what_is_trained_are_computed_once(tiny_decoder: Path, tmp_path: Path, method: str) -> None:
    """And give the run that computes them each time."""
    methods = {**METHODS, "upper lora": {"type": "lora", "rank": 4, "target_modules": _of_layer(1)}}
    fits = []
    for cache in ("auto", "off"):
        prepared = run_of(tiny_decoder, tmp_path / cache, method=methods[method], prefix_cache=cache)
        assert (prepared.learner.cache is not None) is (cache == "auto")
        fits.append(made_fit(prepared, tmp_path / cache))
        list(loop.fit(fits[-1]))
    assert largest_difference(*(weights_of(fit) for fit in fits)) < 1e-6


def test_layers_that_are_not_trained_are_never_in_training_mode(tiny_decoder: Path, tmp_path: Path) -> None:
    network = run_of(tiny_decoder, tmp_path, method=METHODS["frozen_layers"]).network.train()
    assert [layer.training for layer in network.body.layers] == [False, True]
    stage = network.frozen_prefix()
    assert stage.layers == 1
    depths = {name: network.depth_of(name) for name, _ in network.named_parameters()}
    assert set(stage.parameter_names) == {name for name, depth in depths.items() if depth < 2}
    assert run_of(tiny_decoder, tmp_path, method=METHODS["lora"]).network.frozen_prefix() is None


def _of_layer(number: int) -> tuple[str, ...]:
    return tuple(f"layers.{number}.{part}" for part in ("self_attn.q_proj", "mlp.down_proj"))


def test_documents_end_with_the_end_token_and_begin_as_the_tokenizer_says(task: Sft) -> None:
    text = "Hello, how are you?"
    example = Example((text,), (), Place("made-up", 1))
    tokenizer = task.loaded.tokenizer  # type: ignore[union-attr]
    ((ids, targets, _),) = rows_of(task.encode([example], LIMIT))
    whole = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    assert ids == whole[:-1]
    assert targets == whole[1:]


def test_own_outputs_are_those_of_the_saved_folder(tiny_decoder: Path, tmp_path: Path) -> None:
    prepared = run_of(tiny_decoder, tmp_path / "run", made_splits(8, 8, "conversations"))
    task, network = prepared.task, prepared.network.eval()
    list(loop.fit(made_fit(prepared, tmp_path)))
    weights = {name: value.detach().clone() for name, value in network.named_parameters()}
    task.save_native(network, weights, tmp_path / "model")
    rows = made_splits(8, 8, "conversations").validation
    ours, theirs = task.own_outputs(network, rows, LIMIT), task.plain_outputs(tmp_path / "model", rows)
    assert len(ours) > 50
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    finished = registry_task(tiny_decoder, tmp_path)
    again = finished.load_finished(tmp_path / "model", None).eval()
    np.testing.assert_allclose(finished.own_outputs(again, rows, LIMIT), theirs, atol=1e-6)


def registry_task(folder: Path, path: Path) -> Sft:
    """A task that has loaded nothing yet."""
    from feinschliff.lifecycle.prepare import task_of

    config = made_config(folder, path, task=TASK)
    found: Sft = task_of(config, made_splits(2, 2, "conversations"))
    assert resolved(folder).folder == folder
    return found
