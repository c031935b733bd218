"""What carries loss, by hand, for chat templates as their authors publish them; and that it holds for any contents.

Expected texts are written out: what the model has to write stands between ⟦ and ⟧.
"""

from __future__ import annotations

import copy
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feinschliff.models.chat_rows import ChatRenderer
from feinschliff.models.chat_turns import ChatMessages
from tests.models.chat_tokenizers import (
    CALL,
    CHATML,
    LLAMA_3_CHAT,
    SAID,
    THOUGHT,
    TOOL,
    TOOL_CHAT,
    byte_level,
    chat,
    marked,
    metaspace,
    rendered,
    rows_of,
    template,
    text_of,
    tokenizer_for,
)

CHATML_SYSTEM = "<|im_start|>system\nBe brief.<|im_end|>\n"
LLAMA_3_1 = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
    "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
)
GEMMA = (
    "Hello<end_of_turn>\n<start_of_turn>model\n⟦I am fine.<end_of_turn>⟧\n"
    "<start_of_turn>user\nAnd you?<end_of_turn>\n<start_of_turn>model\n⟦Well<end_of_turn>⟧\n"
)
PHI = (
    "<|user|>\nHello<|end|>\n<|assistant|>\n⟦I am fine.<|end|>⟧\n"
    "<|user|>\nAnd you?<|end|>\n<|assistant|>\n⟦Well<|end|>⟧\n"
)
PHI_4 = "<|user|>Hello<|end|><|assistant|>⟦I am fine.<|end|>⟧<|user|>And you?<|end|><|assistant|>⟦Well<|end|>⟧"
DEEPSEEK = (
    "<｜User｜>Hello<｜Assistant｜>⟦I am fine.<｜end▁of▁sentence｜>⟧"
    "<｜User｜>And you?<｜Assistant｜>⟦Well<｜end▁of▁sentence｜>⟧"
)
ZEPHYR = "<|user|>\nHello</s>\n<|assistant|>\n⟦I am fine.</s>⟧\n<|user|>\nAnd you?</s>\n<|assistant|>\n⟦Well</s>⟧\n"
COMMAND = (
    "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hello<|END_OF_TURN_TOKEN|>"
    "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>⟦I am fine.<|END_OF_TURN_TOKEN|>⟧"
    "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>And you?<|END_OF_TURN_TOKEN|>"
    "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>⟦Well<|END_OF_TURN_TOKEN|>⟧"
)
MISTRAL_1 = "Hello [/INST]⟦ I am fine.</s>⟧ [INST] And you? [/INST]⟦ Well</s>⟧"
QWEN_2_5 = "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
SMOLLM_2 = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
QWEN_3 = (
    "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nI am fine.<|im_end|>\n"
    "<|im_start|>user\nAnd you?<|im_end|>\n<|im_start|>assistant\n⟦<think>\n\n</think>\n\nWell<|im_end|>⟧\n",
    "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n⟦<think>\n\n</think>\n\nI am fine.<|im_end|>⟧\n",
)
MASKS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "chatml": ((CHATML,), (CHATML_SYSTEM + CHATML,)),
    "smollm2": ((SMOLLM_2 + CHATML,), (CHATML_SYSTEM + CHATML,)),
    "qwen2_5": ((QWEN_2_5 + CHATML,), (CHATML_SYSTEM + CHATML,)),
    # Qwen 3 opens every answer with its thoughts and leaves them out of the history: an answer, a row.
    "qwen3": (QWEN_3, (CHATML_SYSTEM + QWEN_3[0], CHATML_SYSTEM + QWEN_3[1])),
    "llama3": (
        ("<|begin_of_text|>" + LLAMA_3_CHAT,),
        ("<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>" + LLAMA_3_CHAT,),
    ),
    "llama3_1": ((LLAMA_3_1 + "<|eot_id|>" + LLAMA_3_CHAT,), (LLAMA_3_1 + "Be brief.<|eot_id|>" + LLAMA_3_CHAT,)),
    "gemma2": (("<bos><start_of_turn>user\n" + GEMMA,), ()),
    "gemma3": (("<bos><start_of_turn>user\n" + GEMMA,), ("<bos><start_of_turn>user\nBe brief.\n\n" + GEMMA,)),
    "mistral_v1": (("<s> [INST] " + MISTRAL_1,), ("<s> [INST] Be brief.\n\n" + MISTRAL_1,)),
    # A system message stands in prompts and in no history: see test_mistral_moves_the_system_message.
    "mistral_v3_tekken": (("<s>[INST]Hello[/INST]⟦I am fine.</s>⟧[INST]And you?[/INST]⟦Well</s>⟧",), ()),
    "phi3": ((PHI + "<|endoftext|>",), ("<|system|>\nBe brief.<|end|>\n" + PHI + "<|endoftext|>",)),
    "phi4_mini": ((PHI_4 + "<|endoftext|>",), ("<|system|>Be brief.<|end|>" + PHI_4 + "<|endoftext|>",)),
    "deepseek_v3": (("<｜begin▁of▁sentence｜>" + DEEPSEEK,), ("<｜begin▁of▁sentence｜>Be brief." + DEEPSEEK,)),
    "zephyr": ((ZEPHYR,), ("<|system|>\nBe brief.</s>\n" + ZEPHYR,)),
    "command_r": (
        ("<BOS_TOKEN>" + COMMAND,),
        ("<BOS_TOKEN><|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>Be brief.<|END_OF_TURN_TOKEN|>" + COMMAND,),
    ),
}
STOPS = {"gemma2": ["<end_of_turn>"], "gemma3": ["<end_of_turn>"], "phi3": ["<|end|>"], "phi4_mini": ["<|end|>"]}
"""What the models' generation settings stop at, beside the tokenizers' own end tokens."""


@pytest.mark.parametrize("name", MASKS)
def test_masks_by_hand(name: str) -> None:
    tokenizer = tokenizer_for(name)
    without, with_system = MASKS[name]
    found = rendered(tokenizer, chat(*SAID), stops=STOPS.get(name, ()))
    assert [marked(tokenizer, row) for row in found.rows] == list(without)
    assert found.num_unrolled == len(without) - 1
    assert (found.faults, found.turns_without_end, found.mismatches, found.num_border_repairs) == ([], [], [], 0)
    (end,) = found.end_token_ids
    assert end == tokenizer.convert_tokens_to_ids(STOPS.get(name, [tokenizer.eos_token])[0])
    if with_system:
        assert rows_of(tokenizer, chat(*SAID, system="Be brief."), stops=STOPS.get(name, ())) == list(with_system)


@pytest.mark.parametrize("name", ["mistral_v1", "zephyr", "gemma3"])
@pytest.mark.parametrize("scheme", ["first", "never"])
def test_masks_by_hand_with_blanks_as_pieces(name: str, scheme: str) -> None:
    specials, eos, bos = {"gemma3": (("<start_of_turn>", "<end_of_turn>"), "<eos>", "<bos>")}.get(
        name, ((), "</s>", "<s>")
    )
    tokenizer = copy.deepcopy(metaspace(specials, eos=eos, bos=bos, scheme=scheme))
    tokenizer.chat_template = template(name)
    # Zephyr's template writes no <s>: the row begins with text, before which this tokenizer puts a blank.
    blank = " " if name == "zephyr" and scheme == "first" else ""
    for expected, system in zip(MASKS[name], (None, "Be brief."), strict=True):
        rows = rows_of(tokenizer, chat(*SAID, system=system), stops=STOPS.get(name, ()))
        assert rows == [blank + row for row in expected]


def test_thoughts_of_qwen_3() -> None:
    tokenizer = tokenizer_for("qwen3")
    assert rows_of(tokenizer, THOUGHT) == [
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nYes<|im_end|>\n"
        "<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n⟦<think>\nso\n</think>\n\nNo<|im_end|>⟧\n",
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n⟦<think>\nhm\n</think>\n\nYes<|im_end|>⟧\n",
    ]
    quiet = {"enable_thinking": False}
    assert rows_of(tokenizer, chat(*SAID[:2]), arguments=quiet) == [
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n⟦I am fine.<|im_end|>⟧\n"
    ]
    # The prompt says that nothing is thought, the message has thoughts: said, and trained without them if asked to.
    found = rendered(tokenizer, THOUGHT, arguments=quiet)
    assert found.faults == [(0, "the prompt is rendered differently at inference")]
    assert [(one.conversation, one.message) for one in found.mismatches] == [(0, 1), (0, 3)]
    assert found.mismatches[0].at_inference.endswith("<think>\n\n</think>\n\n")
    assert found.mismatches[0].in_training.endswith("<think>\nhm\n</think>\n\nYes<|im_end|>\n")
    assert rows_of(tokenizer, THOUGHT[:2], arguments=quiet, on_mismatch="inference") == [
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n⟦Yes<|im_end|>⟧\n"
    ]


def test_deepseek_r1_opens_the_thoughts_itself() -> None:
    tokenizer = tokenizer_for("deepseek_r1")
    said = chat("Hello", "<think>\nhm\n</think>\n\nYes", "And?", "No")
    assert rendered(tokenizer, said).rows == []
    found = rendered(tokenizer, said, on_mismatch="inference")
    assert [marked(tokenizer, row) for row in found.rows] == [
        "<｜begin▁of▁sentence｜><｜User｜>Hello<｜Assistant｜><think>\n⟦hm\n</think>\n\nYes<｜end▁of▁sentence｜>⟧",
        "<｜begin▁of▁sentence｜><｜User｜>Hello<｜Assistant｜>\n\nYes<｜end▁of▁sentence｜>"
        "<｜User｜>And?<｜Assistant｜><think>\n⟦No<｜end▁of▁sentence｜>⟧",
    ]
    assert [row.turn for row in found.rows] == [1, 3]
    assert len(found.mismatches) == 2
    assert found.num_unrolled == 0


def test_mistral_moves_the_system_message() -> None:
    tokenizer = tokenizer_for("mistral_v3_tekken")
    said = chat(*SAID, system="Be brief.")
    found = rendered(tokenizer, said)
    assert (found.rows, found.faults) == ([], [(0, "the prompt is rendered differently at inference")])
    assert found.mismatches[0].at_inference == "<s>[INST]Be brief.\n\nHello[/INST]"
    assert rows_of(tokenizer, said, on_mismatch="inference") == [
        "<s>[INST]Be brief.\n\nHello[/INST]⟦I am fine.</s>⟧",
        "<s>[INST]Hello[/INST]I am fine.</s>[INST]Be brief.\n\nAnd you?[/INST]⟦Well</s>⟧",
    ]


def test_blanks_that_open_every_answer_are_found_behind_another_prompt() -> None:
    """Mistral's first templates write a blank before each answer; it is no part of the content."""
    tokenizer = copy.deepcopy(tokenizer_for("mistral_v3_tekken"))
    text = template("mistral_v3_tekken").replace('{{- message["content"] + eos', '{{- " " + message["content"] + eos')
    tokenizer.chat_template = text
    said = chat("Hello", " I am fine.", system="Be brief.")
    assert rows_of(tokenizer, said, on_mismatch="inference") == ["<s>[INST]Be brief.\n\nHello[/INST]⟦  I am fine.</s>⟧"]
    spans = ChatMessages(said, spans=((), (), ((6, 10, 2.0),)))
    (row,) = rendered(tokenizer, spans, on_mismatch="inference").rows
    assert text_of(tokenizer, row.ids[row.weights == 2.0].tolist()) == " fine"


def test_qwen_2_5_calls_tools() -> None:
    (row,) = rows_of(tokenizer_for("qwen2_5"), ChatMessages(TOOL_CHAT, (TOOL,)))
    assert row.startswith(QWEN_2_5.removesuffix("<|im_end|>\n") + "\n\n# Tools\n\nYou may call one or more functions")
    assert row.endswith(
        "</tool_call><|im_end|>\n<|im_start|>user\nIs it sunny?<|im_end|>\n<|im_start|>assistant\n"
        '⟦<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call><|im_end|>⟧\n'
        "<|im_start|>user\n<tool_response>\nsunny\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n⟦It is.<|im_end|>⟧\n"
    )
    assert row.count("⟦") == 2


def test_llama_3_1_calls_tools() -> None:
    (row,) = rows_of(tokenizer_for("llama3_1"), ChatMessages(TOOL_CHAT, (TOOL,)))
    assert "Given the following functions, please respond with a JSON for a function call" in row
    assert row.endswith(
        "Is it sunny?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
        '⟦{"name": "weather", "parameters": {"city": "Paris"}}<|eot_id|>⟧'
        '<|start_header_id|>ipython<|end_header_id|>\n\n"sunny"<|eot_id|>'
        "<|start_header_id|>assistant<|end_header_id|>\n\n⟦It is.<|eot_id|>⟧"
    )


def test_mistral_calls_tools() -> None:
    assert rows_of(tokenizer_for("mistral_v3_tekken"), TOOL_CHAT) == [
        "<s>[INST]Is it sunny?[/INST]"
        '⟦[TOOL_CALLS][{"name": "weather", "arguments": {"city": "Paris"}, "id": "abcdefghi"}]</s>⟧'
        '[TOOL_RESULTS]{"content": sunny, "call_id": "abcdefghi"}[/TOOL_RESULTS]⟦It is.</s>⟧'
    ]
    said = [{"role": "system", "content": "Be brief."}, *TOOL_CHAT[:2]]
    assert rows_of(tokenizer_for("mistral_v3_tekken"), said, on_mismatch="inference") == [
        "<s>[INST]Be brief.\n\nIs it sunny?[/INST]"
        '⟦[TOOL_CALLS][{"name": "weather", "arguments": {"city": "Paris"}, "id": "abcdefghi"}]</s>⟧'
    ]


def test_deepseek_v3_calls_tools() -> None:
    """Its template adds a call's arguments to a text: a dict has to become one first."""
    assert rows_of(tokenizer_for("deepseek_v3"), TOOL_CHAT) == [
        "<｜begin▁of▁sentence｜><｜User｜>Is it sunny?<｜Assistant｜>"
        '⟦<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{"city": "Paris"}\n```'
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>⟧"
        "<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>sunny<｜tool▁output▁end｜><｜tool▁outputs▁end｜>"
        "⟦It is.<｜end▁of▁sentence｜>⟧"
    ]


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3", "llama3_1", "mistral_v3_tekken", "deepseek_v3"])
def test_arguments_as_one_text_or_as_a_dict_are_the_same(name: str) -> None:
    as_text = {**CALL, "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    said = [TOOL_CHAT[0], {**TOOL_CHAT[1], "tool_calls": [as_text]}, *TOOL_CHAT[2:]]
    tokenizer = tokenizer_for(name)
    assert rows_of(tokenizer, said) == rows_of(tokenizer, TOOL_CHAT)


def test_contents_are_stripped_where_the_template_does() -> None:
    for name in ("llama3", "gemma3", "command_r"):
        assert rows_of(tokenizer_for(name), chat("Hello", "\n I am fine. \n", "And you?", " Well")) == list(
            MASKS[name][0]
        )


def test_what_is_ended_where_generation_does_not_stop_is_trained_to_the_last_token() -> None:
    """Phi-3 writes <|end|>, a line break and <|endoftext|>. Where only the latter stops it, it has to write both."""
    tokenizer = tokenizer_for("phi3")
    found = rendered(tokenizer, chat(*SAID))
    assert [marked(tokenizer, row) for row in found.rows] == [
        "<|user|>\nHello<|end|>\n<|assistant|>\nI am fine.<|end|>\n"
        "<|user|>\nAnd you?<|end|>\n<|assistant|>\n⟦Well<|end|>\n<|endoftext|>⟧",
        "<|user|>\nHello<|end|>\n<|assistant|>\n⟦I am fine.<|end|>\n<|endoftext|>⟧",
    ]
    assert found.end_token_ids == (tokenizer.eos_token_id,)
    assert found.num_unrolled == 1


def test_answers_that_nothing_ends_are_named() -> None:
    tokenizer = copy.deepcopy(byte_level((), eos="</s>"))
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
    )
    found = rendered(tokenizer, chat(*SAID))
    assert (found.turns_without_end, found.end_token_ids) == ([(0, 1), (0, 3)], ())
    assert marked(tokenizer, found.rows[0]) == (
        "user: Hello\nassistant:⟦ I am fine.\n⟧user: And you?\nassistant:⟦ Well\n⟧"
    )


def test_prompts_are_those_of_transformers() -> None:
    for name in MASKS:
        tokenizer = tokenizer_for(name)
        said = chat(*SAID[:3])
        theirs = tokenizer.apply_chat_template(said, add_generation_prompt=True, return_dict=False)
        assert ChatRenderer(tokenizer).prompt_ids(said) == theirs
        assert ChatRenderer(tokenizer).prompt(said) == text_of(tokenizer, theirs)


@pytest.mark.parametrize("name", ["llama3_generation", "qwen2_5_generation", "gemma3_generation", "phi3_generation"])
def test_templates_that_mark_answers_themselves_say_the_same(name: str) -> None:
    """TRL's versions have {% generation %} around answers; beside them they count the blanks behind the end token."""
    tokenizer = tokenizer_for(name)
    stops = STOPS.get(name.removesuffix("_generation"), ())
    said = chat(
        "Hello", "I am fine.\n\nThe sum is 5, and the answer", "And you?", "Well\n", "So?", "é 🙂", system="Be brief."
    )
    (row,) = rendered(tokenizer, said, stops=stops).rows
    theirs = tokenizer.apply_chat_template(said, return_assistant_tokens_mask=True, return_dict=True)
    assert row.ids.tolist() == theirs["input_ids"]
    only_theirs = np.array(theirs["assistant_masks"], bool) & (row.weights == 0)
    assert set(np.flatnonzero(row.weights)) <= set(np.flatnonzero(theirs["assistant_masks"]))
    left = {text_of(tokenizer, [number]) for number in row.ids[only_theirs].tolist()}
    assert left <= {"\n", "<|endoftext|>"}
    assert int(row.weights.sum()) > 20


PIECES = [
    "\n",
    "\n\n",
    " ",
    "  ",
    "\t",
    "Hello",
    " the sum",
    "assistant",
    "<|im_start|>",
    "<|im_end|>",
    "</s>",
    "[INST]",
    "<s>",
]
PIECES += [
    "<think>",
    "</think>",
    "{{ x }}",
    "{% if %}",
    "é",
    "🙂",
    "中文",
    "5",
    ".",
    "<|eot_id|>",
    "user\n",
    "<end_of_turn>",
    "\\n",
]
contents = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
NAMES = ["chatml", "llama3", "gemma3", "qwen3", "zephyr", "mistral_v1", "command_r", "deepseek_v3", "phi3"]


def tokenizer_of_kind(name: str, kind: str) -> Any:
    if kind in ("llama", "gpt2"):
        return tokenizer_for(name, **({} if kind == "llama" else {"pattern": None, "trims": True}))
    like = tokenizer_for(name)
    specials = tuple(like.all_special_tokens) + tuple(token.content for token in like.added_tokens_decoder.values())
    tokenizer = copy.copy(metaspace(specials, eos=like.eos_token, bos=like.bos_token, scheme=kind, adds_bos=False))
    tokenizer.chat_template = like.chat_template
    return tokenizer


@given(
    st.sampled_from(NAMES),
    st.sampled_from(["llama", "gpt2", "first", "always"]),
    st.lists(contents, min_size=2, max_size=6).filter(lambda said: len(said) % 2 == 0),
)
@settings(max_examples=150, deadline=None)
def test_prompt_ids_and_then_the_reply_whatever_is_said(name: str, kind: str, said: list[str]) -> None:
    """Each answer carries loss once; the ids before it are its prompt's; both together are the text of inference."""
    tokenizer = tokenizer_of_kind(name, kind)
    renderer = ChatRenderer(tokenizer)
    found = renderer.rows([ChatMessages(chat(*said))])
    assert (found.faults, found.mismatches) == ([], [])
    shared = [row for row in found.rows if row.turn is None]
    alone = [row.turn for row in found.rows if row.turn is not None]
    numbers = [n for n in range(1, len(said), 2) if n not in alone]
    assert (
        max(found.num_unrolled, found.num_border_repairs) <= len(alone) <= found.num_unrolled + found.num_border_repairs
    )
    assert len(shared) == bool(numbers)
    for number in range(1, len(said), 2):
        (row,) = shared if number in numbers else [row for row in found.rows if row.turn == number]
        prompt = renderer.prompt_ids(chat(*said)[:number])
        first = len(prompt)
        assert row.ids[:first].tolist() == prompt
        assert row.weights[first] == 1
        assert row.weights[first - 1] == 0
        stop = first + int(np.argmin(np.append(row.weights[first:], 0)))
        assert int(row.ids[stop - 1]) in found.end_token_ids
        if kind != "always":
            whole = tokenizer.apply_chat_template(chat(*said)[: number + 1], tokenize=False)
            text = text_of(tokenizer, row.ids[:stop].tolist()).removeprefix("" if whole.startswith(" ") else " ")
            assert whole.startswith(text)
            assert re.fullmatch(f"(\\s|{'|'.join(map(re.escape, renderer.renderer.specials))})*", whole[len(text) :])
    trained = sum(int((np.diff(np.append(0, row.weights)) > 0).sum()) for row in found.rows)
    assert trained == len(said) // 2
