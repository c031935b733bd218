"""Small real tokenizers for tests of chat templates: byte-level BPE and BPE with Metaspace, trained on a few lines."""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from feinschliff.models.chat_rows import ChatRenderer, RenderedChats
from feinschliff.models.chat_turns import ChatMessages

TEMPLATES = Path(__file__).with_name("chat_templates")
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""What Llama 3 and, but for numbers, Qwen take for words."""
LINES = (
    "What is the sum of two and three? The sum is five, and the answer is 5.",
    "user assistant system tool model User: Assistant: Instruction Response think",
    "You are a helpful assistant. Be brief. Hello, how are you? I am fine, thank you.",
    "Paris is the capital of France. The weather in Paris is sunny, 21 degrees.\n\n\n",
    '{"name": "weather", "arguments": {"city": "Paris"}}  {"name": "weather", "parameters": {"city": "Paris"}}',
    "def add(a, b):\n    return a + b\n\n\nprint(add(1, 2))\n\t\n",
)


IM = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
LLAMA = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>", "<|python_tag|>")
GEMMA = ("<start_of_turn>", "<end_of_turn>")
PHI = ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>")
DEEPSEEK = ("<｜User｜>", "<｜Assistant｜>")
TEKKEN = (
    "[INST]",
    "[/INST]",
    "[TOOL_CALLS]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
)
COHERE = tuple(f"<|{name}_TOKEN|>" for name in ("START_OF_TURN", "END_OF_TURN", "USER", "CHATBOT", "SYSTEM"))
FAMILIES: dict[str, tuple[tuple[str, ...], str, str | None]] = {
    "chatml": (IM, "<|im_end|>", None),
    "smollm2": (IM, "<|im_end|>", "<|im_start|>"),
    "qwen2_5": (IM, "<|im_end|>", None),
    "qwen2_5_generation": (IM, "<|im_end|>", None),
    "qwen3": (IM, "<|im_end|>", None),
    "llama3": (LLAMA, "<|eot_id|>", "<|begin_of_text|>"),
    "llama3_generation": (LLAMA, "<|eot_id|>", "<|begin_of_text|>"),
    "llama3_1": (LLAMA, "<|eot_id|>", "<|begin_of_text|>"),
    "gemma2": (GEMMA, "<eos>", "<bos>"),
    "gemma3": (GEMMA, "<eos>", "<bos>"),
    "gemma3_generation": (GEMMA, "<eos>", "<bos>"),
    "mistral_v1": ((), "</s>", "<s>"),
    "mistral_v3_tekken": (TEKKEN, "</s>", "<s>"),
    "phi3": (PHI, "<|endoftext|>", "<s>"),
    "phi3_generation": (PHI, "<|endoftext|>", "<s>"),
    "phi4_mini": (PHI, "<|endoftext|>", "<|endoftext|>"),
    "deepseek_v3": (DEEPSEEK, "<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>"),
    "deepseek_r1": (DEEPSEEK, "<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>"),
    "zephyr": ((), "</s>", "<s>"),
    "command_r": (COHERE, "<|END_OF_TURN_TOKEN|>", "<BOS_TOKEN>"),
}
"""Published templates: special tokens, end token, beginning-of-text token of the tokenizers they come with."""

SAID = ("Hello", "I am fine.", "And you?", "Well")
CALL = {"id": "abcdefghi", "type": "function", "function": {"name": "weather", "arguments": {"city": "Paris"}}}
TOOL = {"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": {}}}
TOOL_CHAT: list[dict[str, Any]] = [
    {"role": "user", "content": "Is it sunny?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "sunny", "name": "weather", "tool_call_id": "abcdefghi"},
    {"role": "assistant", "content": "It is."},
]
THOUGHT = [
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Yes", "reasoning_content": "hm"},
    {"role": "user", "content": "And?"},
    {"role": "assistant", "content": "No", "reasoning_content": "so"},
]
CHATML = (
    "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n⟦I am fine.<|im_end|>⟧\n"
    "<|im_start|>user\nAnd you?<|im_end|>\n<|im_start|>assistant\n⟦Well<|im_end|>⟧\n"
)
LLAMA_3_CHAT = (
    "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n⟦I am fine.<|eot_id|>⟧"
    "<|start_header_id|>user<|end_header_id|>\n\nAnd you?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n⟦Well<|eot_id|>⟧"
)


def template(name: str) -> str:
    """A published chat template, as it is."""
    return (TEMPLATES / f"{name}.jinja").read_bytes().decode()


@cache
def byte_level(
    specials: tuple[str, ...],
    *,
    eos: str | None,
    bos: str | None = None,
    adds_bos: bool = False,
    pattern: str | None = LLAMA_3,
    trims: bool = False,
) -> Any:
    """As Llama 3, Qwen, SmolLM, Command-R have: words, bytes, then merges; special tokens are cut out first.

    ``pattern`` None: GPT-2's words, as SmolLM has. ``trims``: as for GPT-2, blanks do not count to a token's place.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    words = [] if pattern is None else [pre_tokenizers.Split(Regex(pattern), "isolated")]
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*words, cut])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, show_progress=False, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(LINES * 3, trainer)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trims)
    return _wrapped(tokenizer, specials, eos=eos, bos=bos, adds_bos=adds_bos)


@cache
def metaspace(
    specials: tuple[str, ...],
    *,
    eos: str = "</s>",
    bos: str | None = "<s>",
    scheme: str = "first",
    adds_bos: bool = True,
) -> Any:
    """As Llama 2, Mistral and Gemma have: blanks are ▁, bytes for the rest; ``scheme`` says before what one is put."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    learned = Tokenizer(models.BPE(unk_token="<unk>"))
    learned.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    trainer = trainers.BpeTrainer(vocab_size=400, show_progress=False, special_tokens=["<unk>"])
    learned.train_from_iterator([line.strip() for line in LINES] * 3, trainer)
    model = json.loads(learned.to_str())["model"]
    names = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *model["vocab"]]
    vocabulary = {name: number for number, name in enumerate(dict.fromkeys(names))}
    merges = [tuple(merge) for merge in model["merges"]]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _wrapped(tokenizer, specials, eos=eos, bos=bos, adds_bos=adds_bos)


def chat(*said: str, system: str | None = None) -> list[dict[str, Any]]:
    """Messages: user and assistant in turn."""
    opening = [{"role": "system", "content": system}] if system is not None else []
    return opening + [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(said)]


def tokenizer_for(name: str, **changes: Any) -> Any:
    """A tokenizer with the special tokens of a published template, and that template."""
    specials, eos, bos = FAMILIES[name]
    tokenizer = copy.deepcopy(byte_level(specials, eos=eos, bos=bos, **changes))
    tokenizer.chat_template = template(name)
    return tokenizer


def text_of(tokenizer: Any, ids: Sequence[int]) -> str:
    """The characters of ids, every blank kept (decoders of Metaspace leave the first out)."""
    tokens = tokenizer.convert_ids_to_tokens(list(ids))
    if "<0x0A>" not in tokenizer.get_vocab():
        text: str = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text
    parts = [_bytes_of(token, token in tokenizer.get_added_vocab()) for token in tokens]
    return b"".join(parts).decode()


def _bytes_of(token: str, special: bool) -> bytes:
    if special:
        return token.encode()
    if re.fullmatch("<0x[0-9A-F]{2}>", token):
        return bytes([int(token[3:5], 16)])
    return token.replace("▁", " ").encode()


def marked(tokenizer: Any, row: Any) -> str:
    """The row's text, with what carries loss between ⟦ and ⟧."""
    runs = itertools.groupby(zip(row.ids.tolist(), row.weights.tolist(), strict=True), lambda token: token[1] != 0)
    parts = [(learns, text_of(tokenizer, [number for number, _ in tokens])) for learns, tokens in runs]
    return "".join(f"⟦{text}⟧" if learns else text for learns, text in parts)


def rendered(tokenizer: Any, *chats: Any, stops: Any = (), arguments: Any = None, **rule: Any) -> RenderedChats:
    conversations = [one if isinstance(one, ChatMessages) else ChatMessages(one) for one in chats]
    return ChatRenderer(tokenizer, tokenizer.convert_tokens_to_ids(list(stops)), arguments).rows(conversations, **rule)


def rows_of(tokenizer: Any, *chats: Any, **changes: Any) -> list[str]:
    found = rendered(tokenizer, *chats, **changes)
    assert found.faults == []
    return [marked(tokenizer, row) for row in found.rows]


def _wrapped(tokenizer: Any, specials: Sequence[str], *, eos: str | None, bos: str | None, adds_bos: bool) -> Any:
    from tokenizers import AddedToken, processors
    from transformers import PreTrainedTokenizerFast

    names = [name for name in dict.fromkeys((bos, eos, *specials)) if name]
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    if adds_bos and bos:
        begin = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))])
        kept = [tokenizer.post_processor] if tokenizer.post_processor else []
        tokenizer.post_processor = processors.Sequence([*kept, begin])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=bos, eos_token=eos)
