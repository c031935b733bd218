"""Generation beside transformers' `model.generate`: same model, prompts and greedy choice, interleaved in one process.

    scripts/bench generation [--data-dir DIR] [--model smollm2-135m-instruct] [--rounds 5] [--precisions bf16 fp32]

GSM8K questions in the model's own chat template, so prompts are ragged. Two jobs: `fixed`, every answer 64 tokens;
`ragged`, answers end at their end token, at 128 the latest. Each round runs all settings one after the other. Tokens a
second are tokens of answers over seconds (medians), the reading of the prompts included; beside them CPU seconds, which
other work on the machine disturbs less. In fp32 the answers must be those of `model.generate`; in bf16 both round in
their own way, and the share of tokens before the first difference from the fp32 answer is shown for each.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

JOBS = {"fixed": (64, 64), "ragged": (0, 128)}
"""Fewest and most new tokens."""
Answers = list[list[int]]


def prompts(data_dir: Path, tokenizer: Any, rows: int) -> Answers:
    """The first questions of GSM8K's test file as token ids."""
    path = data_dir / "gsm8k" / "test.jsonl"
    if not path.exists():
        raise SystemExit(f"not there: {path}")
    with path.open(encoding="utf-8") as file:
        questions = [json.loads(line)["question"] for line in file][:rows]
    chats = [[{"role": "user", "content": question}] for question in questions]
    return [tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False) for chat in chats]


def theirs(model: Any, tokenizer: Any, given: Answers, job: str) -> Callable[[], Answers]:
    """transformers: one batch, padded on the left."""
    import torch

    end, (fewest, most) = tokenizer.eos_token_id, JOBS[job]

    def run() -> Answers:
        batch = tokenizer.pad({"input_ids": given}, padding_side="left", return_tensors="pt")
        with torch.inference_mode():
            out = model.generate(
                **batch,
                min_new_tokens=fewest,
                max_new_tokens=most,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
            )
        answers = out[:, batch["input_ids"].shape[1] :].tolist()
        return [answer[: answer.index(end) + 1] if end in answer else answer for answer in answers]

    return run


def ours(backend: Any, given: Answers, job: str) -> Callable[[], Answers]:
    """The backend of this package."""
    from feinschliff.config.generation import SamplingConfig
    from feinschliff.generation.port import Request

    fewest, most = JOBS[job]
    sampling = SamplingConfig(min_new_tokens=fewest, max_new_tokens=most)
    requests = [Request(ids=ids) for ids in given]
    return lambda: [list(answer.ids) for answer in backend.generate(requests, sampling)]


def settings(arguments: argparse.Namespace) -> dict[tuple[str, str, str], Callable[[], Answers]]:
    """What is measured, by job, precision and side."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from feinschliff.generation.transformers_backend import TransformersBackend
    from feinschliff.models.load import quiet_transformers
    from feinschliff.models.sources import resolve_model

    quiet_transformers()
    folder = arguments.model if Path(arguments.model).is_dir() else resolve_model(arguments.model).folder
    tokenizer = AutoTokenizer.from_pretrained(folder)
    given = prompts(arguments.data_dir, tokenizer, arguments.rows)
    print(
        f"{len(given)} prompts of {min(map(len, given))} to {max(map(len, given))} tokens, "
        f"{sum(map(len, given))} in all"
    )
    found: dict[tuple[str, str, str], Callable[[], Answers]] = {}
    for precision in arguments.precisions:
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        backends = {"ours": TransformersBackend(model, tokenizer)}
        if arguments.modules:
            backends["ours, modules"] = TransformersBackend(model, tokenizer, lean=False)
        print(f"{precision}: {backends['ours'].notes[-1]}")
        for job in arguments.jobs:
            found[job, precision, "generate"] = theirs(model, tokenizer, given, job)
            for name, backend in backends.items():
                found[job, precision, name] = ours(backend, given, job)
    return found


def measure(arguments: argparse.Namespace) -> None:
    """All settings, round by round after one that warms up; a table of medians."""
    work = settings(arguments)
    wall: dict[tuple[str, str, str], list[float]] = {key: [] for key in work}
    cpu: dict[tuple[str, str, str], list[float]] = {key: [] for key in work}
    answers: dict[tuple[str, str, str], Answers] = {}
    for number in range(arguments.rounds + 1):
        for key, run in work.items():
            begin, begin_cpu = time.perf_counter(), time.process_time()
            answers[key] = run()
            if number:
                wall[key].append(time.perf_counter() - begin)
                cpu[key].append(time.process_time() - begin_cpu)
                line = {"setting": key, "seconds": round(wall[key][-1], 2), "load": os.getloadavg()[0]}
                print(json.dumps(line), flush=True)
    print(
        f"\n{'job':7} {'type':5} {'by':14} {'tokens':>7} {'tokens/s':>9} {'best':>7} {'CPU s':>7} "
        f"{'ours is':>9} {'as fp32':>8}"
    )
    for job, precision, name in work:
        key, reference = (job, precision, name), (job, precision, "generate")
        number = sum(map(len, answers[key]))
        ratio = statistics.median(other / mine for other, mine in zip(wall[reference], wall[key], strict=True))
        same = agreement(answers[key], answers.get((job, "fp32", "generate")))
        print(
            f"{job:7} {precision:5} {name:14} {number:7} {number / statistics.median(wall[key]):9.1f} "
            f"{number / min(wall[key]):7.1f} {statistics.median(cpu[key]):7.2f} {ratio:8.2f}x {same:>8}"
        )
    different = [key for key in work if key[1] == "fp32" and answers[key] != answers[key[0], "fp32", "generate"]]
    if different:
        raise SystemExit(f"other answers than model.generate in fp32: {different}")


def agreement(answers: Answers, reference: Answers | None) -> str:
    """Share of the reference's tokens before the first difference."""
    if reference is None:
        return "-"
    before = 0
    for mine, wanted in zip(answers, reference, strict=True):
        differences = [place for place, pair in enumerate(zip(mine, wanted, strict=False)) if pair[0] != pair[1]]
        before += differences[0] if differences else min(len(mine), len(wanted))
    return f"{before / sum(map(len, reference)):.3f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument(
        "--model", default="smollm2-135m-instruct", help="a folder, or anything `feinschliff models pull` takes"
    )
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", nargs="+", choices=list(JOBS), default=list(JOBS))
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--modules", action="store_true", help="the way without lean layers, too")
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
