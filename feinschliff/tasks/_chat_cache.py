"""Tokenized rows of large sets, kept in the cache under a key of everything they depend on. Knows no loss, no network.

The key is a hash of the conversations (or texts) themselves, the template with its arguments, the tokenizer with all
its settings, the options of rows, the versions of what renders and tokenizes, and our own modules that do so. A
template that reads the clock gives other rows tomorrow: its rows are never kept.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import json
import os
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from feinschliff.data.conversations import as_json
from feinschliff.data.examples import Example
from feinschliff.errors import ResourceError
from feinschliff.models import chat_render, chat_rows, chat_tokens, chat_turns
from feinschliff.models.chat_rows import ChatRenderer, ChatRow, RenderedChats
from feinschliff.models.chat_turns import Mismatch
from feinschliff.store.cache import STAGING, made_once

FEWEST_CHARACTERS = 1_000_000
"""Of a set that is kept; less is tokenized again within a second or two."""
MOST_SETS = 24
"""A run has up to four; the oldest are removed."""
ROWS, FACTS = "rows.npz", "facts.json"
CLOCK = "strftime_now"
_VERSIONS = ("transformers", "tokenizers", "jinja2")
_DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile)


def kept(
    folder: Path,
    renderer: ChatRenderer,
    examples: Sequence[Example],
    options: Sequence[Any],
    make: Callable[[], RenderedChats],
) -> RenderedChats:
    """What ``make`` gives, read from ``folder`` where it was kept; ``cache_note`` says so.

    A set that cannot be kept (a full disk) is not: the run goes on. What is damaged is made anew.

    Args:
        options: beside tokenizer and template, all that rows depend on.
    """
    key = _key(renderer, examples, options)
    if key is None:
        return make()
    target = folder / key
    found = _read(target) if target.exists() else None
    if found is not None:
        found.cache_note = "tokenized rows were read from the cache"
        return found
    found = make()
    rendered = found
    try:
        made_once(target, lambda place: _write(rendered, place))
        found.cache_note = "tokenized rows are kept in the cache for the next run"
        _prune(folder)
    except ResourceError as error:
        found.cache_note = f"tokenized rows are not kept: {error.faults[0].what}"
    return found


def _key(renderer: ChatRenderer, examples: Sequence[Example], options: Sequence[Any]) -> str | None:
    """None: too small to be kept, or other rows at another time."""
    tokenizer, template = renderer.renderer.tokenizer, json.dumps(renderer.renderer.tokenizer.chat_template)
    if CLOCK in template:
        return None
    digest, size = hashlib.sha256(), 0
    for row in _rows(examples):
        digest.update(len(row).to_bytes(8, "little") + row)
        size += len(row)
    if size < FEWEST_CHARACTERS:
        return None
    depends = [
        list(options),
        template,
        renderer.renderer.arguments,
        sorted(renderer.renderer.ends),
        [type(tokenizer).__name__, tokenizer.eos_token_id, tokenizer.special_tokens_map],
        tokenizer.backend_tokenizer.to_str(),
        [importlib.metadata.version(name) for name in _VERSIONS],
        _sources(),
    ]
    digest.update(json.dumps(depends, default=str).encode())
    return digest.hexdigest()


def _rows(examples: Sequence[Example]) -> Iterator[bytes]:
    for example in examples:
        chat = example.conversation
        yield (example.texts[0] if chat is None else json.dumps(as_json(chat), default=str)).encode()


@cache
def _sources() -> str:
    """Of the modules that make rows, so that a mended one makes them anew."""
    texts = [inspect.getsource(module) for module in (chat_render, chat_rows, chat_tokens, chat_turns)]
    return hashlib.sha256("".join(texts).encode()).hexdigest()


def _write(rendered: RenderedChats, folder: Path) -> None:
    rows = rendered.rows
    weights = np.concatenate([row.weights for row in rows]) if rows else np.empty(0, np.float32)
    values, places = np.unique(weights, return_inverse=True)
    few = len(values) <= 256  # nearly always two: with loss and without
    np.savez(
        folder / ROWS,
        ids=np.concatenate([row.ids for row in rows]) if rows else np.empty(0, np.int32),
        lengths=np.array([len(row.ids) for row in rows], np.int64),
        values=values,
        weights=places.astype(np.uint8) if few else places.astype(np.int64),
        conversations=np.array([row.conversation for row in rows], np.int64),
        turns=np.array([-1 if row.turn is None else row.turn for row in rows], np.int64),
        prompts=np.array([row.prompt_tokens for row in rows], np.int64),
    )
    facts = asdict(replace(rendered, rows=[], cache_note=""))
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")


def _read(folder: Path) -> RenderedChats | None:
    """None where it is damaged; then it is removed."""
    try:
        with np.load(folder / ROWS, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        os.utime(folder)
        return RenderedChats(**{**_restored(facts), "rows": _made(arrays)})
    except _DAMAGED:
        shutil.rmtree(folder, ignore_errors=True)
        return None


def _made(held: dict[str, Any]) -> list[ChatRow]:
    cuts = np.cumsum(held["lengths"])[:-1]
    ids = np.split(held["ids"], cuts) if len(held["lengths"]) else []
    weights = np.split(held["values"][held["weights"]].astype(np.float32), cuts) if len(ids) else []
    facts = zip(held["conversations"].tolist(), held["turns"].tolist(), held["prompts"].tolist(), strict=True)
    return [
        ChatRow(one, weight, conversation, None if turn < 0 else turn, prompt)
        for one, weight, (conversation, turn, prompt) in zip(ids, weights, facts, strict=True)
    ]


def _restored(facts: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples, no whole numbers as keys and no counters."""
    pairs = {
        name: [tuple(one) for one in facts[name]] for name in ("faults", "turns_without_end", "turns_without_prompt")
    }
    return (
        facts
        | pairs
        | {
            "mismatches": [Mismatch(**one) for one in facts["mismatches"]],
            "special_in_content": {int(row): count for row, count in facts["special_in_content"].items()},
            "end_token_ids": tuple(facts["end_token_ids"]),
            "ignored": Counter(facts["ignored"]),
        }
    )


def _prune(folder: Path) -> None:
    sets = [one for one in folder.iterdir() if one.is_dir() and not one.name.startswith(STAGING)]
    for old in sorted(sets, key=lambda one: one.stat().st_mtime, reverse=True)[MOST_SETS:]:
        shutil.rmtree(old, ignore_errors=True)
