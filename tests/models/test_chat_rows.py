"""Which tokens carry loss under a rule, what weights do, what is refused, counted, repaired; texts for pretraining."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from feinschliff.errors import ConfigError, ModelError
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

RULES: list[tuple[Any, str]] = [
    ("completion", "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nI am fine.<|im_end|>\n"
                   "<|im_start|>user\nAnd you?<|im_end|>\n<|im_start|>assistant\n⟦Well<|im_end|>⟧\n"),
    ("last", "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nI am fine.<|im_end|>\n"
             "<|im_start|>user\nAnd you?<|im_end|>\n<|im_start|>assistant\n⟦Well<|im_end|>⟧\n"),
    ("all", "<|im_start|>⟦user\nHello<|im_end|>\n<|im_start|>assistant\nI am fine.<|im_end|>\n"
            "<|im_start|>user\nAnd you?<|im_end|>\n<|im_start|>assistant\nWell<|im_end|>\n⟧"),
    (("user",), "<|im_start|>user\n⟦Hello<|im_end|>⟧\n<|im_start|>assistant\nI am fine.<|im_end|>\n"
                "<|im_start|>user\n⟦And you?<|im_end|>⟧\n"),
    (("user", "assistant"), "<|im_start|>user\n⟦Hello<|im_end|>⟧\n<|im_start|>assistant\n⟦I am fine.<|im_end|>⟧\n"
                            "<|im_start|>user\n⟦And you?<|im_end|>⟧\n<|im_start|>assistant\n⟦Well<|im_end|>⟧\n"),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "expected"), RULES)
def test_rules(loss: Any, expected: str) -> None:
    assert rows_of(tokenizer_for("chatml"), chat(*SAID), loss=loss) == [expected]


def test_roles_where_the_history_is_rewritten() -> None:
    """What a tool answered stands in one row, though the answers have rows of their own."""
    said = [*THOUGHT, {"role": "tool", "content": "sunny"}]
    assert rows_of(tokenizer_for("qwen3"), said, loss=("assistant", "tool")) == [
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nYes<|im_end|>\n"
        "<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n⟦<think>\nso\n</think>\n\nNo<|im_end|>⟧\n"
        "<|im_start|>user\n<tool_response>\n⟦sunny⟧\n</tool_response><|im_end|>\n",
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n⟦<think>\nhm\n</think>\n\nYes<|im_end|>⟧\n",
    ]


def test_a_completion_is_what_its_column_gave_or_what_follows_the_user() -> None:
    said = ["Hello", "I am fine.", "And you?", "Well", "So?", "Yes"]
    prompt = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nI am fine.<|im_end|>\n"
    given = ChatMessages(chat(*said), completion_start=3)
    assert rows_of(tokenizer_for("chatml"), given, loss="completion") == [
        f"{prompt}<|im_start|>user\nAnd you?<|im_end|>\n<|im_start|>assistant\n⟦Well<|im_end|>⟧\n"
        "<|im_start|>user\nSo?<|im_end|>\n<|im_start|>assistant\n⟦Yes<|im_end|>⟧\n"
    ]
    called = rendered(tokenizer_for("qwen3"), ChatMessages(TOOL_CHAT, (TOOL,)), loss="completion")
    last = rendered(tokenizer_for("qwen3"), ChatMessages(TOOL_CHAT, (TOOL,)), loss="last")
    learned, of_last = (sum(int((row.weights > 0).sum()) for row in found.rows) for found in (called, last))
    assert learned > of_last > 0, "the call and the answer to what it gave"


def test_unknown_rule_is_refused() -> None:
    with pytest.raises(ConfigError, match="no such loss rule: completions"):
        rendered(tokenizer_for("chatml"), loss="completions")


def test_weights_of_messages() -> None:
    tokenizer = tokenizer_for("chatml")
    said = ChatMessages(chat(*SAID), weights=(None, 0, None, 0.5))
    (row,) = rendered(tokenizer, said).rows
    assert marked(tokenizer, row) == CHATML.replace("⟦I am fine.<|im_end|>⟧", "I am fine.<|im_end|>")
    assert set(row.weights.tolist()) == {0.0, 0.5}
    weightless = ChatMessages(chat(*SAID), weights=(1, 0, None, 0))
    assert rendered(tokenizer, weightless).faults == [(0, "all its messages that could carry loss have weight 0")]
    (row,) = rendered(tokenizer, ChatMessages(chat(*SAID), weights=(0, None, None, 0)), loss="all").rows
    assert marked(tokenizer, row) == (
        "<|im_start|>⟦user\n⟧Hello<|im_end|>⟦\n<|im_start|>assistant\nI am fine.<|im_end|>\n"
        "<|im_start|>user\nAnd you?<|im_end|>\n<|im_start|>assistant\n⟧Well<|im_end|>⟦\n⟧"
    )


def weights_of(tokenizer: Any, said: ChatMessages, **rule: Any) -> list[tuple[str, float]]:
    (row,) = rendered(tokenizer, said, **rule).rows
    tokens = zip(row.ids.tolist(), row.weights.tolist(), strict=True)
    return [(text_of(tokenizer, [number]), weight) for number, weight in tokens]


@pytest.mark.parametrize("trims", [False, True])
@pytest.mark.parametrize("name", ["chatml", "command_r", "mistral_v1"])
def test_weights_inside_a_content(name: str, trims: bool) -> None:
    """A blank before a word is of its token: a span of the word alone weighs it. Stripped or not, it has its place."""
    content = "  The answer is 5. you\n"
    spans = ((), ((16, 17, 3.0), (content.index("you"), len(content), 0.0)))
    found = weights_of(
        tokenizer_for(name, pattern=None, trims=trims), ChatMessages(chat("Hello", content), spans=spans)
    )
    weighed = {weight: "".join(text for text, of in found if of == weight) for weight in (1.0, 3.0)}
    stripped = name == "command_r"
    opening = "" if stripped else "   " if name == "mistral_v1" else "  "
    assert weighed == {1.0: f"{opening}The answer is.{tokenizer_for(name, pattern=None).eos_token}", 3.0: " 5"}


def test_blanks_at_the_end_of_a_prompt_carry_no_loss() -> None:
    """Where blanks do not count to a token's place, those of the prompt seem to stand where the answer begins."""
    tokenizer = copy.deepcopy(byte_level((), eos="</s>", pattern=None, trims=True))
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role + ':\t ' + m.content + eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant:\t ' }}{% endif %}"
    )
    found = rendered(tokenizer, chat("Hello", "</s>"))
    assert [marked(tokenizer, row) for row in found.rows] == ["user:\t Hello</s>assistant:\t ⟦</s>⟧</s>"]


def test_a_history_that_differs_in_one_character_is_another() -> None:
    """The count of questions opens each text: what was said first is learned behind a 1."""
    tokenizer = copy.deepcopy(tokenizer_for("chatml", pattern=None))
    count = "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}"
    tokenizer.chat_template = count + tokenizer.chat_template
    found = rendered(tokenizer, chat(*SAID))
    first, second = CHATML.split("⟧\n", 1)
    assert [marked(tokenizer, row) for row in found.rows] == [
        f"2{first.replace('⟦', '')}\n{second}",
        f"1{first}⟧\n",
    ]
    assert (found.num_unrolled, found.mismatches) == (1, [])


def test_only_a_span_carries_loss() -> None:
    said = ChatMessages(chat("Hello", "The answer is 5."), weights=(None, 0), spans=((), ((14, 15, 1.0),)))
    assert rows_of(tokenizer_for("chatml", pattern=None), said) == [
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nThe answer is⟦ 5⟧.<|im_end|>\n"
    ]


def test_spans_of_other_roles_and_of_rows_of_their_own() -> None:
    said = ChatMessages(chat("The sum?", "is 5"), weights=(None, None), spans=(((4, 7, 2.0),), ()))
    assert (
        "sum"
        in "".join(t for t, w in weights_of(tokenizer_for("chatml", pattern=None), said, loss=("user",)) if w == 2.0)
    ) is True
    thoughts = [THOUGHT[0], {**THOUGHT[1], "content": "is 5"}, *THOUGHT[2:]]
    found = rendered(tokenizer_for("qwen3", pattern=None), ChatMessages(thoughts, spans=((), ((3, 4, 2.0),), (), ())))
    (row,) = [row for row in found.rows if row.turn == 1]
    assert text_of(tokenizer_for("qwen3", pattern=None), row.ids[row.weights == 2.0].tolist()) == " 5"


def test_spans_that_the_template_rewrites_are_refused() -> None:
    tokenizer = copy.deepcopy(tokenizer_for("chatml", pattern=None))
    tokenizer.chat_template = template("chatml").replace("message['content']", "message['content'] | upper")
    said = ChatMessages(chat("Hello", "is 5"), spans=((), ((3, 4, 2.0),)))
    assert rendered(tokenizer, said).faults == [
        (0, "message 2 is rewritten by the template: weights of its parts have no place")
    ]
    cut = ChatMessages(chat("Hello", "<think>hm</think>5"), spans=((), ((7, 9, 2.0),)))
    assert "is cut by the template" in rendered(tokenizer_for("deepseek_r1"), cut, on_mismatch="inference").faults[0][1]


FAULTS: list[tuple[str, Any, str]] = [
    ("gemma2", chat(*SAID, system="Be brief."), "System role not supported"),
    ("command_r", chat(*SAID)[1:], "Conversation roles must alternate user/assistant/user/assistant/..."),
    ("llama3_1", [TOOL_CHAT[0], {**TOOL_CHAT[1], "tool_calls": [CALL, CALL]}],
     "This model only supports single tool-calls at once!"),
    ("chatml", [{"role": "user", "content": 5}, {"role": "assistant", "content": "a"}], "TypeError"),
    ("chatml", chat("Hello"), "no message of assistant"),
    ("chatml", [], "no message of assistant"),
    ("chatml", [{"role": "assistant", "content": "Hello"}], "nothing stands before its only answer"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "said", "reason"), FAULTS)
def test_what_a_template_refuses_is_a_reason(name: str, said: Any, reason: str) -> None:
    found = rendered(tokenizer_for(name), said, chat("Hello", "I am fine."))
    assert [number for number, _ in found.faults] == [0]
    assert reason in found.faults[0][1]
    assert [row.conversation for row in found.rows] == [1]


def test_an_answer_before_any_question_carries_no_loss() -> None:
    said = [{"role": "assistant", "content": "Hello"}, *chat("And you?", "Well")]
    found = rendered(tokenizer_for("chatml"), said)
    assert found.turns_without_prompt == [(0, 0)]
    assert marked(tokenizer_for("chatml"), found.rows[0]) == (
        "<|im_start|>assistant\nHello<|im_end|>\n"
        "<|im_start|>user\nAnd you?<|im_end|>\n<|im_start|>assistant\n⟦Well<|im_end|>⟧\n"
    )


def test_fields_that_the_template_does_not_write_are_counted() -> None:
    found = rendered(tokenizer_for("zephyr"), ChatMessages(TOOL_CHAT, (TOOL,)), THOUGHT, chat(*SAID))
    assert dict(found.ignored) == {"tools": 1, "tool_calls": 1, "tool messages": 1, "reasoning_content": 1}
    for name in ("qwen3", "llama3_1"):
        assert not rendered(tokenizer_for(name), ChatMessages(TOOL_CHAT, (TOOL,)), chat(*SAID, system="a")).ignored


@pytest.mark.parametrize("loss", ["last", "all", "completion", "assistant"])
def test_calls_that_are_only_read_are_noticed_too(loss: str) -> None:
    """A template that does not write them shows an empty answer in the history."""
    said = [*TOOL_CHAT[:-1], {"role": "assistant", "content": "It is sunny."}]
    assert rendered(tokenizer_for("zephyr"), ChatMessages(said, (TOOL,)), loss=loss).ignored["tool_calls"] == 1
    assert not rendered(tokenizer_for("qwen3"), ChatMessages(said, (TOOL,)), loss=loss).ignored["tool_calls"]


def test_special_tokens_in_contents_are_counted() -> None:
    said = chat("Hello <|im_end|>\n<|im_start|>system", "I am fine.", "<|im_en", "Well")
    assert rendered(tokenizer_for("chatml"), chat(*SAID), said).special_in_content == {1: 2}


def test_a_tokenizer_that_joins_prompt_and_answer() -> None:
    """GPT-2's words: two line breaks alone are one token, before a word two. The prompt's ids begin each row."""
    tokenizer = tokenizer_for("llama3", pattern=None)
    renderer = ChatRenderer(tokenizer)
    found = renderer.rows([ChatMessages(chat(*SAID))])
    assert found.num_border_repairs == 2
    assert [row.turn for row in found.rows] == [1, 3]
    assert [marked(tokenizer, row) for row in found.rows] == [
        "<|begin_of_text|>" + LLAMA_3_CHAT.partition("⟧")[0] + "⟧",
        "<|begin_of_text|>" + LLAMA_3_CHAT.replace("⟦I am fine.<|eot_id|>⟧", "I am fine.<|eot_id|>"),
    ]
    for row, upto in zip(found.rows, (1, 3), strict=True):
        prompt = renderer.prompt_ids(chat(*SAID)[:upto])
        assert row.ids[: row.prompt_tokens].tolist() == prompt
        whole = tokenizer.apply_chat_template(chat(*SAID)[: upto + 1], return_dict=False)
        assert row.ids.tolist() != whole


def test_texts_for_pretraining() -> None:
    tokenizer = metaspace((), adds_bos=True)
    tokenizer.chat_template = template("zephyr")
    found = ChatRenderer(tokenizer).documents(["Hello", "", "<s>Paris is sunny</s>"])
    assert found.faults == [(1, "the text is empty")]
    assert [(row.conversation, text_of(tokenizer, row.ids.tolist())) for row in found.rows] == [
        (0, "<s> Hello</s>"),
        (2, "<s>Paris is sunny</s>"),
    ]
    assert all(row.weights[0] == 0 and row.weights[1:].all() for row in found.rows)
    assert found.end_token_ids == (tokenizer.eos_token_id,)
    plain = copy.deepcopy(byte_level((), eos="</s>"))
    plain.chat_template = template("zephyr")
    (row,) = ChatRenderer(plain).documents(["Hello, how"]).rows
    assert marked(plain, row).startswith("H")
    assert text_of(plain, row.ids.tolist()) == "Hello, how</s>"


def test_no_end_token_no_pretraining_and_no_template_no_renderer() -> None:
    tokenizer = copy.deepcopy(byte_level((), eos=None))
    with pytest.raises(ModelError, match="no chat template"):
        ChatRenderer(tokenizer)
    tokenizer.chat_template = template("llama3")
    with pytest.raises(ModelError, match="no end token"):
        ChatRenderer(tokenizer).documents(["Hello"])
