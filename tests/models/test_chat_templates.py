"""Which template: chosen, kept with the tokenizer, checked against it; what those of the catalogue write, by hand."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from feinschliff.errors import ConfigError
from feinschliff.models import chat_templates
from feinschliff.models.chat_render import TemplateRenderer
from feinschliff.models.chat_rows import ChatRenderer
from feinschliff.models.chat_templates import CATALOGUE, ChosenTemplate, choose, disagreements, keep, needed_tokens
from feinschliff.models.chat_turns import ChatMessages
from tests.models.chat_tokenizers import byte_level, chat, marked, metaspace, template, tokenizer_for

SAID = ("Hello", "I am fine.", "And you?", "Well")
FILES = Path(chat_templates.__file__).with_name("templates")
MARKERS = ("<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>")
MARKERS += ("<end_of_turn>", "[INST]", "[/INST]", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
ALPACA = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
WRITTEN = {
    "chatml": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
    "<|im_start|>assistant\n⟦I am fine.<|im_end|>⟧\n<|im_start|>user\nAnd you?<|im_end|>\n"
    "<|im_start|>assistant\n⟦Well<|im_end|>⟧\n",
    "llama3": "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n⟦I am fine.<|eot_id|>⟧"
    "<|start_header_id|>user<|end_header_id|>\n\nAnd you?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n⟦Well<|eot_id|>⟧",
    "gemma": "<start_of_turn>user\nBe brief.\n\nHello<end_of_turn>\n<start_of_turn>model\n⟦I am fine.<end_of_turn>⟧\n"
    "<start_of_turn>user\nAnd you?<end_of_turn>\n<start_of_turn>model\n⟦Well<end_of_turn>⟧\n",
    "mistral": "[INST] Be brief.\n\nHello[/INST]⟦ I am fine.</s>⟧[INST] And you?[/INST]⟦ Well</s>⟧",
    "phi": "<|system|>\nBe brief.<|end|>\n<|user|>\nHello<|end|>\n<|assistant|>\n⟦I am fine.<|end|>⟧\n"
    "<|user|>\nAnd you?<|end|>\n<|assistant|>\n⟦Well<|end|>⟧\n",
    "zephyr": "<|system|>\nBe brief.</s>\n<|user|>\nHello</s>\n<|assistant|>\n⟦I am fine.</s>⟧\n"
    "<|user|>\nAnd you?</s>\n<|assistant|>\n⟦Well</s>⟧\n",
    "alpaca": "Be brief.\n\n### Instruction:\nHello\n\n### Response:\n⟦I am fine.</s>⟧\n\n"
    "### Instruction:\nAnd you?\n\n### Response:\n⟦Well</s>⟧\n\n",
    "plain": "Be brief.\n\nUser:\nHello\n\nAssistant:\n⟦I am fine.</s>⟧\n\n"
    "User:\nAnd you?\n\nAssistant:\n⟦Well</s>⟧\n\n",
}
"""With a system message; the tokenizer's end token is </s>."""
OPENINGS = {
    "chatml": "<|im_start|>system\nBe brief.<|im_end|>\n",
    "llama3": "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>",
    "phi": "<|system|>\nBe brief.<|end|>\n",
    "zephyr": "<|system|>\nBe brief.</s>\n",
}
"""What is there for a system message alone, where it is more than itself and an empty line."""


def fresh(specials: tuple[str, ...] = MARKERS, eos: str | None = "</s>", **changes: Any) -> Any:
    return copy.deepcopy(byte_level(specials, eos=eos, **changes))


def kept(tokenizer: Any, name: Any = None) -> ChosenTemplate:
    chosen = choose(tokenizer, name)
    keep(tokenizer, chosen)
    return chosen


def test_the_catalogue_is_the_folder() -> None:
    assert sorted(CATALOGUE) == sorted(file.stem for file in FILES.glob("*.jinja")) == sorted(WRITTEN)
    for file in FILES.glob("*.jinja"):
        assert file.read_text(encoding="utf-8").startswith("{#- ")


@pytest.mark.parametrize("name", CATALOGUE)
def test_what_the_catalogue_writes(name: str) -> None:
    tokenizer = fresh()
    kept(tokenizer, name)
    renderer = ChatRenderer(tokenizer)
    found = renderer.rows([ChatMessages(chat(*SAID, system="Be brief."))])
    assert [marked(tokenizer, row) for row in found.rows] == [WRITTEN[name]]
    assert (found.faults, found.mismatches, found.turns_without_end, found.num_unrolled) == ([], [], [], 0)
    (row,) = renderer.rows([ChatMessages(chat(*SAID))]).rows
    instead = f"{ALPACA}\n\n" if name == "alpaca" else ""
    assert marked(tokenizer, row) == WRITTEN[name].replace(OPENINGS.get(name, "Be brief.\n\n"), instead)


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_catalogue_refuses_what_it_would_leave_out(name: str) -> None:
    tokenizer = fresh()
    kept(tokenizer, name)
    call = {"type": "function", "function": {"name": "weather", "arguments": {}}}
    calls = [*chat("Hello"), {"role": "assistant", "content": "", "tool_calls": [call]}]
    said = [ChatMessages(calls), ChatMessages(chat(*SAID), tools=(call,)), ChatMessages(chat(*SAID))]
    found = ChatRenderer(tokenizer).rows(said)
    assert [number for number, reason in found.faults if "writes no tools" in reason] == [0, 1]
    assert [row.conversation for row in found.rows] == [2]


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_beginning_of_text_where_the_tokenizer_adds_one(name: str) -> None:
    tokenizer = fresh(bos="<s>", adds_bos=True)
    chosen = kept(tokenizer, name)
    text = ChatRenderer(tokenizer).prompt(chat("Hello"))
    assert text.startswith("<s>")
    assert not text.removeprefix("<s>").startswith(("<s>", "\n"))
    assert ChatRenderer(tokenizer).prompt_ids(chat("Hello")) == tokenizer(text.removeprefix("<s>"))["input_ids"]
    assert not any("<s>" in fault.what for fault in disagreements(tokenizer, chosen))


def test_a_tokenizer_without_template_gets_plain_and_says_so() -> None:
    tokenizer = fresh(())
    chosen = kept(tokenizer)
    assert (chosen.name, chosen.origin) == ("plain", "catalogue")
    assert chosen.announcements == ("the tokenizer has no chat template: plain of the catalogue is used",)
    assert disagreements(tokenizer, chosen) == []


def test_its_own_template_is_the_default_and_another_is_announced() -> None:
    tokenizer = tokenizer_for("chatml")
    assert choose(tokenizer).text == template("chatml")
    assert choose(tokenizer).announcements == ("chat template: the tokenizer's own",)
    assert choose(tokenizer, "zephyr").announcements == (
        "chat template: zephyr of the catalogue instead of the tokenizer's own",
    )


def test_a_file_is_saved_with_the_tokenizer(tmp_path: Path) -> None:
    file = tmp_path / "mine.jinja"
    file.write_bytes(b"\xef\xbb\xbf" + template("zephyr").encode())
    tokenizer = fresh(())
    chosen = kept(tokenizer, file)
    assert (chosen.origin, chosen.name, chosen.text) == ("file", str(file), template("zephyr"))
    tokenizer.save_pretrained(tmp_path / "model")
    from transformers import AutoTokenizer

    again = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert again.chat_template == template("zephyr")
    assert ChatRenderer(again).prompt_ids(chat("Hello")) == ChatRenderer(tokenizer).prompt_ids(chat("Hello"))


def test_arguments_are_saved_as_defaults_of_the_template(tmp_path: Path) -> None:
    """Who serves the folder hands over nothing, and gets the prompts of training."""
    from transformers import AutoTokenizer

    tokenizer = tokenizer_for("qwen3", pattern=None)
    arguments = {"enable_thinking": False, "date": 'the "1st" of May, \\ ü', "count": 3}
    shown = "{{ date }}{{ count }}{% macro m() %}{{ count }}{% endmacro %}{{ m() }}"
    own = f" \n{tokenizer.chat_template}{shown}"
    tokenizer.chat_template = own
    expected = ChatRenderer(tokenizer, (), arguments).prompt(chat("Hello"))
    plain = ChatRenderer(tokenizer).prompt(chat("Hello"))
    keep(tokenizer, choose(tokenizer), arguments)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    said = [{"role": "user", "content": "Hello"}]
    prompts = [again.apply_chat_template(said, tokenize=False, add_generation_prompt=True, **given)
               for given in ({}, arguments, {"count": 4})]  # fmt: skip
    assert prompts[0] == prompts[1] == expected != plain
    assert "<think>\n\n</think>" in expected
    assert prompts[2] == expected[: expected.rindex("33")] + "44", "who asks for something else gets it"


def test_names_that_no_template_can_ask_for_are_refused() -> None:
    tokenizer = tokenizer_for("chatml")
    with pytest.raises(ConfigError, match="'no name' is no name of a template's argument"):
        keep(tokenizer, choose(tokenizer), {"no name": 1, "good": 2})


def test_templates_by_name_stay_together() -> None:
    """Some tokenizers have one for tools and one for the rest."""
    tokenizer = tokenizer_for("chatml")
    tokenizer.chat_template = {"default": template("chatml"), "tool_use": template("qwen2_5")}
    chosen = kept(tokenizer)
    assert chosen.texts == (template("chatml"), template("qwen2_5"))
    renderer = ChatRenderer(tokenizer)
    assert "# Tools" not in renderer.prompt(chat("Hello"))
    assert "# Tools" in renderer.prompt(chat("Hello"), [{"type": "function", "function": {"name": "weather"}}])
    assert disagreements(tokenizer, chosen) == []


def test_what_is_neither_name_nor_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="chatlm") as caught:
        choose(fresh(), "chatlm", where="model.chat_template")
    assert caught.value.faults[0].where == "model.chat_template"
    assert "chatml" in str(caught.value.faults[0].remedy)
    file = tmp_path / "broken.jinja"
    file.write_text("{% for m in messages %}\n{{ m.content }\n{% endfor %}", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        choose(fresh(), str(file))
    assert caught.value.faults[0].where == f"{file}:2"


def test_needed_tokens() -> None:
    assert needed_tokens((FILES / "chatml.jinja").read_text()) == ("<|im_start|>", "<|im_end|>")
    assert needed_tokens((FILES / "mistral.jinja").read_text()) == ("[INST]", "[/INST]")
    assert needed_tokens((FILES / "zephyr.jinja").read_text()) == ()
    assert needed_tokens(template("llama3")) == ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")


def whats(tokenizer: Any, chosen: ChosenTemplate, *eos: str) -> list[str]:
    return [fault.what for fault in disagreements(tokenizer, chosen, tokenizer.convert_tokens_to_ids(list(eos)))]


def test_markers_that_are_no_tokens_are_named() -> None:
    tokenizer = fresh(())
    faults = whats(tokenizer, kept(tokenizer, "chatml"))
    pieces = len(tokenizer("<|im_start|>", add_special_tokens=False)["input_ids"])
    assert f"'<|im_start|>' is read in {pieces} pieces" in faults
    assert "the template ends answers with no special token" in faults
    # A published template may spell its markers: nobody chose it.
    spelled = copy.deepcopy(metaspace((), adds_bos=False))
    spelled.chat_template = template("mistral_v1")
    assert whats(spelled, choose(spelled)) == []


def test_an_end_that_generation_does_not_stop_at_is_named() -> None:
    tokenizer = tokenizer_for("gemma3")
    chosen = choose(tokenizer)
    assert whats(tokenizer, chosen) == ["the template ends answers with '<end_of_turn>', generation stops at <eos>"]
    assert whats(tokenizer, chosen, "<end_of_turn>") == []


def test_a_beginning_written_twice_or_never_is_named() -> None:
    tokenizer = fresh(bos="<s>", adds_bos=True)
    twice = ChosenTemplate("x", "file", "{{ bos_token }}" + choose(tokenizer, "chatml").text)  # type: ignore[operator]
    keep(tokenizer, twice)
    assert whats(tokenizer, twice, "<|im_end|>") == ["the template writes <s> twice at the beginning"]
    never = ChosenTemplate("x", "file", template("chatml"))
    keep(tokenizer, never)
    assert whats(tokenizer, never, "<|im_end|>") == [
        "the template never writes <s>, with which the tokenizer begins every text"
    ]
    assert whats(tokenizer_for("smollm2"), choose(tokenizer_for("smollm2"))) == []


def test_a_header_that_no_prompt_ends_with_is_named() -> None:
    tokenizer = tokenizer_for("chatml")
    tokenizer.chat_template = template("chatml").split("{% if add_generation_prompt")[0]
    assert whats(tokenizer, choose(tokenizer)) == [
        "prompts do not end with the header of answers, '<|im_start|>assistant\\n'"
    ]
    assert whats(tokenizer_for("mistral_v1"), choose(tokenizer_for("mistral_v1"))) == []


def test_a_template_that_cannot_write_a_question_is_named() -> None:
    tokenizer = tokenizer_for("chatml")
    tokenizer.chat_template = "{{ raise_exception('never') }}"
    (fault,) = disagreements(tokenizer, choose(tokenizer))
    assert (fault.what, fault.why) == ("the chat template cannot write a question and an answer", "never")


def test_templates_that_read_the_clock() -> None:
    dated = ChosenTemplate("x", "file", "{% if not date_string is defined %}{% set date_string = strftime_now('%d') %}")
    assert chat_templates.reads_clock(dated)
    assert not chat_templates.reads_clock(dated, {"date_string": "26 Jul 2024"})
    assert not chat_templates.reads_clock(choose(tokenizer_for("llama3_1")))
    today = TemplateRenderer(tokenizer_for("llama3_1"), arguments={"date_string": "1 Jan 2000"}).text(chat("Hello"))
    assert "Today Date: 1 Jan 2000" in today
