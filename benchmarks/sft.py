"""Instruction tuning beside TRL and LLaMA-Factory: tokens a second, loss a step, peak memory, interleaved.

    scripts/bench sft [--data-dir DIR] [--model NAME] [--steps 6] [--epochs 1] [--rounds 2] [--trl-python PATH]
                      [--llamafactory-python PATH] [--settings ours "TRL default" ...] [--job lora|full|top-third]

GSM8K chats, eight a step, the same rows in the same order for all; LoRA of rank 16 and alpha 32 on all linear layers,
rate 2e-4 falling to zero, no warm-up, no decay, gradients clipped at 1. Every measurement is a process of its own, a
round runs all settings one after the other, and the first step of each is left out (kernels are compiled in it).
Tokens are those of the rows, without padding. The line end behind the last answer's end token, which costs nothing to
predict, is taken out of TRL's rows: so all losses are means over the same tokens (LLaMA-Factory's are over that one
too). With several epochs the same rows come again in the same order, and the time in which ours computes the cache of
the frozen layers counts as the first step, which is not left out then. The peers run in interpreters of their own
that have them installed; without one, ours runs alone.
`share of peak` sets the multiplications that a step cannot do without beside the bf16 matrix product of this machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

OURS = "ours"
ROWS = 8
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TRL = """
import json, resource, sys, tempfile, time
given = json.load(open(sys.argv[1]))
import torch
torch.set_num_threads(given["threads"])
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer
times, losses, tokens = [], [], []
class Clock(TrainerCallback):
    def on_step_begin(self, *a, **k): self.begin = time.perf_counter()
    def on_step_end(self, *a, **k): times.append(time.perf_counter() - self.begin)
    def on_log(self, args, state, control, logs=None, **k):
        if "loss" in (logs or {}): losses.append(logs["loss"])
settings = dict(output_dir=tempfile.mkdtemp(), per_device_train_batch_size=given["rows"], max_steps=given["steps"],
                learning_rate=2e-4, report_to=[], use_cpu=True, save_strategy="no", disable_tqdm=True, seed=0,
                logging_steps=1, max_length=1024, train_sampling_strategy="sequential") | given["settings"]
rows = Dataset.from_list([{"prompt": [{"role": "user", "content": q}],
                           "completion": [{"role": "assistant", "content": a}]} for q, a in given["chats"]])
tokenizer = AutoTokenizer.from_pretrained(given["model"])
line_end = "'<|im_end|>' + '\\n'"
if line_end in tokenizer.chat_template:
    last = "'<|im_end|>' + ('' if loop.last and message['role'] == 'assistant' else '\\n')"
    tokenizer.chat_template = tokenizer.chat_template.replace(line_end, last)
model = AutoModelForCausalLM.from_pretrained(given["model"], dtype=torch.float32)
lora = dict(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM") | given["lora"]
trainer = SFTTrainer(model, args=SFTConfig(**settings), train_dataset=rows, processing_class=tokenizer,
                     callbacks=[Clock()], peft_config=LoraConfig(**lora) if given["adapters"] else None)
inner = trainer.data_collator
def collate(rows):
    batch = inner(rows)
    mask = batch.get("attention_mask")
    tokens.append(int(mask.sum()) if mask is not None else batch["input_ids"].numel())
    return batch
trainer.data_collator = collate
trainer.train()
print(json.dumps({"seconds": times, "tokens": tokens[: len(times)], "losses": losses,
                  "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""
LLAMAFACTORY = """
import json, os, resource, sys, tempfile, time
os.environ["DISABLE_VERSION_CHECK"] = "1"
given = json.load(open(sys.argv[1]))
import torch
torch.set_num_threads(given["threads"])
from transformers import TrainerCallback
from llamafactory.train.tuner import run_exp
times, losses = [], []
class Clock(TrainerCallback):
    def on_step_begin(self, *a, **k): self.begin = time.perf_counter()
    def on_step_end(self, *a, **k): times.append(time.perf_counter() - self.begin)
    def on_log(self, args, state, control, logs=None, **k):
        if "loss" in (logs or {}): losses.append(logs["loss"])
work = tempfile.mkdtemp()
json.dump([{"instruction": q, "input": "", "output": a} for q, a in given["chats"]], open(work + "/gsm.json", "w"))
json.dump({"gsm": {"file_name": "gsm.json"}}, open(work + "/dataset_info.json", "w"))
run_exp(args=dict(model_name_or_path=given["model"], stage="sft", do_train=True, finetuning_type="lora", lora_rank=16,
    lora_alpha=32, lora_target="all", dataset="gsm", dataset_dir=work, template="chatml", cutoff_len=1024,
    output_dir=work + "/out", per_device_train_batch_size=given["rows"], gradient_accumulation_steps=1,
    max_steps=given["steps"], learning_rate=2e-4, bf16=True, use_cpu=True, save_strategy="no", logging_steps=1,
    report_to="none", preprocessing_num_workers=1, disable_gradient_checkpointing=True, infer_dtype="float32",
    disable_shuffling=True), callbacks=[Clock()])
print(json.dumps({"seconds": times, "tokens": given["tokens"][: len(times)], "losses": losses,
                  "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""
PEERS: dict[str, tuple[str, dict[str, Any]]] = {
    "TRL default (bf16, checkpointing)": ("trl", {}),
    "TRL fp32, no checkpointing": ("trl", {"bf16": False, "gradient_checkpointing": False}),
    "TRL bf16, no checkpointing": ("trl", {"bf16": True, "gradient_checkpointing": False}),
    "TRL bf16, packing, no checkpointing": (
        "trl",
        {
            "bf16": True,
            "gradient_checkpointing": False,
            "packing": True,
            "per_device_train_batch_size": 1,
            "max_length": 1536,
        },
    ),
    "LLaMA-Factory bf16, no checkpointing": ("llamafactory", {}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--job", choices=("lora", "full", "top-third"), default="lora")
    parser.add_argument("--trl-python", default="")
    parser.add_argument("--llamafactory-python", default="")
    parser.add_argument("--settings", nargs="*", default=[OURS, *PEERS])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(ours(arguments)))
        return
    found: dict[str, list[dict[str, Any]]] = {}
    for _ in range(arguments.rounds):
        for name in arguments.settings:
            one = measured(arguments, name)
            if one is not None:
                found.setdefault(name, []).append(one)
                told = [round(x, 3) for x in one["losses"]]
                print(f"{name}: {rate(one):.0f} tokens/s, {sum(one['seconds']):.1f} s, losses {told}", flush=True)
    show(found)


def chats(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """Questions and answers in the order of the file; enough for packed rows too."""
    lines = (arguments.data_dir / "gsm8k" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    more = 8 if arguments.epochs == 1 else 1
    rows = [json.loads(line) for line in lines[: more * ROWS * arguments.steps]]
    return [(row["question"], row["answer"]) for row in rows]


def rate(one: dict[str, Any]) -> float:
    """Tokens a second over all steps but the first; over all of them where the same rows come again."""
    left_out = 1 if one["epochs"] == 1 else 0
    return sum(one["tokens"][left_out:]) / sum(one["seconds"][left_out:])


def measured(arguments: argparse.Namespace, name: str) -> dict[str, Any] | None:
    """One setting in a process of its own; None where its interpreter was not named."""
    if name == OURS:
        command = [sys.executable, __file__, *sys.argv[1:], "--one", name]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
        return {**json.loads(said), "epochs": arguments.epochs}
    peer, settings = PEERS[name]
    python = {"trl": arguments.trl_python, "llamafactory": arguments.llamafactory_python}[peer]
    if not python:
        return None
    from feinschliff.models.sources import resolve_model

    folder = resolve_model(arguments.model).folder
    given = {
        "model": str(folder),
        "chats": chats(arguments),
        "rows": ROWS,
        "steps": arguments.steps * arguments.epochs,
        "threads": arguments.threads,
        "settings": settings,
        "adapters": arguments.job != "full",
        "lora": {"layers_to_transform": list(range(20, 30)), "target_modules": list(LINEAR)}
        if arguments.job == "top-third"
        else {},
        "tokens": tokens_of_steps(arguments) * arguments.epochs,
    }
    with tempfile.TemporaryDirectory() as work:
        file = Path(work) / "given.json"
        file.write_text(json.dumps(given))
        code = TRL if peer == "trl" else LLAMAFACTORY
        done = subprocess.run([python, "-c", code, str(file)], check=True, capture_output=True, text=True, cwd=work)
    return {**json.loads(done.stdout.splitlines()[-1]), "epochs": arguments.epochs}


def tokens_of_steps(arguments: argparse.Namespace) -> list[int]:
    """Tokens of the rows of each step under the model's own template."""
    from transformers import AutoTokenizer

    from feinschliff.models.sources import resolve_model

    tokenizer = AutoTokenizer.from_pretrained(resolve_model(arguments.model).folder)
    found = []
    rows = chats(arguments)[: ROWS * arguments.steps]
    for begin in range(0, len(rows), ROWS):
        texts = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": q}, {"role": "assistant", "content": a}], tokenize=False
            )
            for q, a in rows[begin : begin + ROWS]
        ]
        found.append(sum(len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]))
    return found


def ours(arguments: argparse.Namespace) -> dict[str, Any]:
    """One run of ours in this process."""
    import numpy as np
    import torch

    from feinschliff.engine.seeds import seed_step
    from feinschliff.engine.step import train_step

    torch.set_num_threads(arguments.threads)
    prepared, caching = prepared_run(arguments)
    learner, steps = prepared.learner, arguments.steps * arguments.epochs
    learner.network.train()
    seconds, losses = [], []
    for step in range(steps):
        seed_step(0, step)
        first_row = step % arguments.steps * ROWS
        begin = time.perf_counter()
        loss = train_step(learner, np.arange(first_row, first_row + ROWS), 1.0 - step / steps)
        seconds.append(time.perf_counter() - begin)
        losses.append(loss.loss_sum / loss.num_targets)
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    tokens = tokens_of_steps(arguments) * arguments.epochs
    if arguments.epochs > 1:
        seconds[0] += caching
    return {
        "seconds": seconds,
        "tokens": tokens,
        "losses": losses,
        "mib": mib,
        "flops": needed(prepared, arguments.epochs) if arguments.job == "lora" else 0.0,
        "peak": peak_flops(),
    }


def prepared_run(arguments: argparse.Namespace) -> tuple[Any, float]:
    """The rows of all steps, in the file's order, ready to train; and the seconds its prefix cache took."""
    from dataclasses import replace

    from feinschliff.config.data import DataConfig
    from feinschliff.config.run import RunConfig
    from feinschliff.data.load import load_splits
    from feinschliff.engine import prefix_cache
    from feinschliff.lifecycle.prepare import prepare
    from feinschliff.models.sources import resolve_model

    with tempfile.TemporaryDirectory() as work:
        file = Path(work) / "rows.jsonl"
        rows = chats(arguments)[: ROWS * arguments.steps]
        file.write_text("\n".join(json.dumps({"question": q, "answer": a}) for q, a in rows))
        splits = load_splits(DataConfig(train=(str(file),), duplicates="keep", held_out_duplicates="keep"), 0)
    everything = sorted([*splits.train, *splits.validation, *splits.test], key=lambda row: row.place.line)
    splits = replace(splits, train=everything, validation=[], test=[])
    methods: dict[str, Any] = {
        "lora": {"type": "lora", "rank": 16, "alpha": 32.0},
        "top-third": {"type": "lora", "rank": 16, "alpha": 32.0, "target_modules": top_third()},
        "full": {"type": "full"},
    }
    config = RunConfig.model_validate(
        {
            "task": {"type": "sft"},
            "method": methods[arguments.job],
            "data": {"validation_fraction": 0.0},
            "training": {
                "learning_rate": 2e-4,
                "global_batch_rows": ROWS,
                "micro_batch_tokens": 4096,
                "weight_averaging": 0.0,
                "weight_decay": 0.0,
                "label_smoothing": 0.0,
                "keep_weights": "last",
                "num_threads": arguments.threads,
            },
        }
    )
    build, took = prefix_cache.build, []

    def timed(*given: Any, **named: Any) -> Any:
        begin = time.perf_counter()
        found = build(*given, **named)
        took.append(time.perf_counter() - begin)
        return found

    prefix_cache.build = timed
    return prepare(config, splits, resolve_model(arguments.model), Path(tempfile.mkdtemp())), sum(took)


def top_third() -> tuple[str, ...]:
    """All linear layers of the upper ten of SmolLM2's thirty layers."""
    ends = ("q_proj", "k_proj", "v_proj", "o_proj")
    return tuple(
        f"layers.{layer}.{part}"
        for layer in range(20, 30)
        for part in (*(f"self_attn.{end}" for end in ends), "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
    )


def needed(prepared: Any, epochs: int) -> float:
    """Multiplications and additions that all steps need: frozen matrices forward and for the gradient of their inputs,
    the projection for tokens that carry loss; attention and adapters are left out."""
    import torch

    body, table, targets = prepared.network.body, prepared.learner.table, prepared.learner.targets
    matrices = sum(
        module.weight.numel()
        for name, module in body.model.named_modules()
        if "lora" not in name and isinstance(module, torch.nn.Linear)
    )
    head = body.projection.weight.numel()
    return epochs * 4.0 * (matrices * float(table.lengths.sum()) + head * float(targets.num_targets))


def peak_flops() -> float:
    """Of a bf16 matrix product of this machine's favourite size, the best of a few."""
    import torch

    a, b = (torch.randn(2048, 2048, dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(12):
        begin = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - begin)
    return 2.0 * 2048**3 / min(seconds)


def show(found: dict[str, list[dict[str, Any]]]) -> None:
    """The table, medians over rounds."""
    print(f"\n{'setting':40} tokens/s   ours is   last loss   MiB")
    own = statistics.median(rate(one) for one in found[OURS]) if OURS in found else None
    for name, rounds in found.items():
        median = statistics.median(rate(one) for one in rounds)
        times = f"{own / median:.2f}x" if own and name != OURS else ""
        last, mib = rounds[-1]["losses"][-1], max(one["mib"] for one in rounds)
        print(f"{name:40} {median:8.0f} {times:>9} {last:11.4f} {mib:6.0f}")
    for one in (one for one in found.get(OURS, []) if one["flops"]):
        share = one["flops"] / sum(one["tokens"]) * rate(one) / one["peak"]
        print(f"ours: {share:.0%} of {one['peak'] / 1e9:.0f} GFLOP/s")
    losses = {name: rounds[-1]["losses"] for name, rounds in found.items() if "packing" not in name}
    for name, values in losses.items():
        if name != OURS and OURS in losses:
            apart = [mine - theirs for theirs, mine in zip(values, losses[OURS], strict=False)]
            worst, mean = max(map(abs, apart)), statistics.fmean(apart)
            print(f"a step's loss differs from that of {name} by {worst:.4f} at most, {mean:+.4f} in the mean")


if __name__ == "__main__":
    main()
