"""Runs that are killed with SIGKILL and started again end with the bits of the run that was left alone.

    python benchmarks/kills.py [--num-kills 20] [--model NAME] [--method full] [--rows 600] [--seed 0] [--json]
    python benchmarks/kills.py --task sft --processes 2 [--kills-per-run 4]

Each trial starts `feinschliff train` as a process, kills it (at a random moment, while a checkpoint is being written,
or while the model is), starts the same command until it is finished, and compares hashes: of the best weights, of the
exported model file and of the curve. Without --model a tiny random BERT is made, or for --task sft a tiny random Llama
of two layers. Exit code 1 if any hash differs. With --kills-per-run a trial is killed so often before it may end.

Processes are forked from a server that has imported the libraries already, which saves seconds of start a trial;
--fresh starts the interpreter anew each time. With --processes 2 the command is torchrun's: it starts two processes,
and SIGKILL goes to all three. A run of several is compared with one of as many that was left alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import signal
import string
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

REPOSITORY = Path(__file__).resolve().parent.parent
if str(REPOSITORY) not in sys.path:
    sys.path.insert(0, str(REPOSITORY))
MOMENTS = ("random", "checkpoint", "random", "checkpoint", "export")
PRELOADED = [
    "torch",
    "peft",
    "sklearn.metrics",
    "transformers.models.auto.modeling_auto",
    "feinschliff.lifecycle.train",
]
FILLER = "the my please help when new old day night work home city car train red green blue"
TOPICS = {"delivery": "parcel delivery late lost", "film": "movie film good bad", "money": "refund money account"}


@dataclass(frozen=True, slots=True)
class Setting:
    """What all runs have in common."""

    folder: Path
    model: Path | str
    options: tuple[str, ...] = ()
    fresh: bool = False
    rows: str = "rows.csv"
    processes: int = 1

    def command(self, run: Path) -> list[str]:
        """The arguments of `feinschliff`."""
        fixed = ["train", str(self.folder / self.rows), "--model", str(self.model), "--output-dir", str(run)]
        return [*fixed, "--training.num-threads", "1", "--training.checkpoint-every-steps", "2", *self.options]

    def launch(self, run: Path) -> list[str]:
        """The whole command line, with torchrun before it where several processes train."""
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={self.processes}"]
        return [sys.executable, *(torchrun if self.processes > 1 else []), "-m", "feinschliff", *self.command(run)]


@dataclass(slots=True)
class Trial:
    """One run, how it was killed and how it ended."""

    moment: str
    killed_at: list[str] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)
    resumed_from_step: int | None = None
    equal: bool = False


def write_rows(folder: Path, num_rows: int, seed: int = 0) -> None:
    """``rows.csv``: made-up sentences of three topics."""
    rng = random.Random(seed)
    filler = FILLER.split()
    lines = ["text,label"]
    for row in range(num_rows):
        topic = sorted(TOPICS)[row % len(TOPICS)]
        words = [rng.choice(TOPICS[topic].split()), *rng.choices(filler, k=rng.randint(2, 12)), f"n{row}"]
        lines.append(f"{' '.join(words)},{topic}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_chats(folder: Path, num_rows: int, seed: int = 0) -> None:
    """``chats.jsonl``: made-up questions with answers of very different lengths, so that attention pads and packs."""
    rng = random.Random(seed)
    filler = FILLER.split()
    lines = []
    for row in range(num_rows):
        topic = sorted(TOPICS)[row % len(TOPICS)]
        question = f"{' '.join(rng.choices(filler, k=rng.randint(1, 8)))} n{row}?"
        answer = " ".join([rng.choice(TOPICS[topic].split()), *rng.choices(filler, k=rng.randint(1, 30))])
        lines.append(json.dumps({"prompt": question, "completion": answer}))
    (folder / "chats.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_decoder(folder: Path) -> Path:
    """A tiny random Llama whose tokenizer cuts texts into bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokens = ["<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = {"eos_token": "<|end|>", "pad_token": "<|end|>", "model_max_length": 512}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **end).save_pretrained(folder)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    ids = {"eos_token_id": 0, "pad_token_id": 0, "bos_token_id": None}
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=len(tokens), num_key_value_heads=2, max_position_embeddings=512, **sizes, **ids)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def make_model(folder: Path) -> Path:
    """A tiny random BERT with a character tokenizer."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    letters = string.ascii_lowercase + string.digits
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    BertTokenizer(vocab=vocabulary, model_max_length=128).save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(tokens), max_position_embeddings=128, **sizes)).save_pretrained(folder)
    return folder


def _run_here(arguments: list[str], log: str) -> None:
    """In a forked process: become `feinschliff`."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.argv = ["feinschliff", *arguments]
    from feinschliff.cli.main import run

    run()


class Command:
    """A running `feinschliff`, forked or started anew."""

    def __init__(self, setting: Setting, run: Path) -> None:
        self.log = setting.folder / f"{run.name}.log"
        arguments, self._process = setting.command(run), None
        if setting.fresh or setting.processes > 1:
            from feinschliff.settings import child_environment

            environment = child_environment(PYTHONPATH=str(REPOSITORY))
            with self.log.open("a") as out:
                self._popen = subprocess.Popen(setting.launch(run), env=environment, stdout=out, stderr=out)
            self.pid = self._popen.pid
            return
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self._process = context.Process(target=_run_here, args=(arguments, str(self.log)))
        self._process.start()
        self.pid = self._process.pid or 0

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.is_alive() if self._process else self._popen.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to this process."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL to it and to all that it started; torchrun's processes are in sessions of their own."""
        first = psutil.Process(self.pid)
        first.suspend()  # it can start nothing while its children are listed
        for process in (*first.children(recursive=True), first):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def wait(self) -> int:
        """Its exit code; negative: the signal that ended it."""
        if self._process is None:
            return self._popen.wait()
        self._process.join()
        return int(self._process.exitcode or 0)


def wait_for(command: Command, run: Path, moment: str, rng: random.Random, seconds: float) -> str | None:
    """Wait until the moment has come; what was going on then, or None where the run ended before."""
    after = rng.randint(1, 6)
    deadline = time.perf_counter() + rng.uniform(0.02, seconds)
    seen: set[str] = set()
    while command.alive():
        if moment == "random":
            if time.perf_counter() >= deadline:
                return "a random moment"
        elif moment == "export" and (run / ".model.tmp").exists():
            time.sleep(rng.uniform(0.0, 0.01))
            return "writing the model"
        elif moment == "checkpoint":
            now = {path.name for path in (run / "checkpoints").glob(".step-*.tmp")}
            seen |= now
            if len(seen) >= after and now:
                time.sleep(rng.choice([0.0, 0.0, 0.001, 0.003]))
                return f"writing checkpoint {sorted(now)[-1]}"
    return None


def hashes_of(run: Path) -> dict[str, str]:
    """Of the finished run's weights, model file and curve."""
    result = json.loads((run / "training.json").read_text())
    model = (run / "model" / "model.safetensors").read_bytes()
    return {
        "weights": result["weights_sha256"],
        "model": hashlib.sha256(model).hexdigest(),
        "curve": hashlib.sha256(json.dumps(result["curve"]).encode()).hexdigest(),
    }


def finish(setting: Setting, run: Path) -> None:
    """Run the command to its end.

    Raises:
        RuntimeError: it failed; its output is in the message.
    """
    command = Command(setting, run)
    code = command.wait()
    if code != 0:
        raise RuntimeError(f"exit code {code}: {command.log.read_text()[-2000:]}")


def killed_run(setting: Setting, run: Path, moments: list[str], rng: random.Random, seconds: float) -> Trial:
    """A run killed at each of the moments in turn, then finished. ``seconds``: about what a whole run takes."""
    trial = Trial("+".join(moments))
    for moment in moments:
        command = Command(setting, run)
        doing = wait_for(command, run, moment, rng, seconds)
        command.kill() if doing else None
        if command.wait() == -signal.SIGKILL:
            trial.killed_at.append(doing or "")
    finish(setting, run)
    trial.hashes = hashes_of(run)
    trial.resumed_from_step = json.loads((run / "training.json").read_text())["resumed_from_step"]
    return trial


def main() -> int:
    """Run all trials and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-kills", type=int, default=20)
    parser.add_argument("--task", choices=("text_classification", "sft"), default="text_classification")
    parser.add_argument("--model", help="a model folder or a name; default: a tiny random one")
    parser.add_argument("--method", default="full")
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--processes", type=int, default=1, help="that torchrun starts, sharing each global batch")
    parser.add_argument("--kills-per-run", type=int, default=1)
    parser.add_argument("--options", default="", help="more options of `feinschliff train`, in one string")
    parser.add_argument("--max-steps", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--fresh", action="store_true", help="start the interpreter anew for each process")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        report = _trials(Path(name), given)
    if given.json:
        print(json.dumps(report, indent=2))
    else:
        _print(report)
    return 0 if report["equal"] == len(report["trials"]) else 1


def setting_of(folder: Path, given: argparse.Namespace) -> Setting:
    """Rows, model and options of all runs."""
    options = ["--training.max-steps", str(given.max_steps), "--method.type", given.method]
    options += ["--training.evaluations-per-epoch", "2", "--training.precision", "bf16"]
    options += ["--training.early-stopping-patience", "none", *given.options.split()]
    if given.task == "sft":
        write_chats(folder, given.rows)
        options += ["--task.type", "sft", "--training.micro-batch-tokens", "1024"]
        model = given.model or make_decoder(folder / "model")
        template = [] if given.model else ["--task.chat-template", "plain"]
        return Setting(folder, model, (*options, *template), given.fresh, "chats.jsonl", given.processes)
    write_rows(folder, given.rows)
    model, options = given.model or make_model(folder / "model"), [*options, "--model.dropout", "0.1"]
    return Setting(folder, model, tuple(options), given.fresh, processes=given.processes)


def moments_of(number: int, count: int) -> list[str]:
    """When the ``number``-th trial is killed, ``count`` times; a model is written last."""
    moments = [MOMENTS[(number * count + kill) % len(MOMENTS)] for kill in range(count)]
    return sorted(moments, key=lambda moment: moment == "export")


def _trials(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    setting = setting_of(folder, given)
    finish(setting, folder / "warm-up")
    begin = time.perf_counter()
    finish(setting, folder / "alone")
    seconds, expected = time.perf_counter() - begin, hashes_of(folder / "alone")
    rng, trials, kills = random.Random(given.seed), [], 0
    while kills < given.num_kills:
        moments = moments_of(len(trials), min(given.kills_per_run, given.num_kills - kills))
        trial = killed_run(setting, folder / f"run-{time.time_ns()}", moments, rng, seconds)
        if trial.killed_at:  # a run that ended before its moment came was not killed, and is drawn anew
            trial.equal = trial.hashes == expected
            trials.append(trial)
            kills += len(trial.killed_at)
            said = "equal" if trial.equal else "DIFFERENT"
            print(f"{kills}/{given.num_kills}: {', '.join(trial.killed_at)}: {said}", file=sys.stderr, flush=True)
    default = "tiny random Llama" if given.task == "sft" else "tiny random BERT"
    return {
        "task": given.task,
        "model": str(given.model or default),
        "method": given.method,
        "processes": given.processes,
        "steps": json.loads((folder / "alone" / "training.json").read_text())["steps"],
        "seconds_of_a_run": seconds,
        "expected": expected,
        "kills": kills,
        "equal": sum(trial.equal for trial in trials),
        "trials": [asdict(trial) for trial in trials],
    }


def _print(report: dict[str, Any]) -> None:
    print(
        f"{report['task']}, {report['method']} on {report['model']}, {report['steps']} steps, "
        f"processes: {report['processes']}; "
        f"left alone: {report['expected']['weights'][:16]}"
    )
    print(f"{'':>3}  {'killed while/at':<42} {'last resumed from':>17}  {'weights':<16}  equal")
    for number, trial in enumerate(report["trials"], start=1):
        step = "start" if trial["resumed_from_step"] is None else trial["resumed_from_step"]
        for moment in trial["killed_at"][:-1]:
            print(f"{number:>3}  {moment}")
        print(
            f"{number:>3}  {trial['killed_at'][-1]:<42} {step:>17}  {trial['hashes']['weights'][:16]}  "
            f"{'yes' if trial['equal'] else 'NO'}"
        )
    print(f"{report['kills']} kills; {report['equal']} of {len(report['trials'])} runs equal to the bit")


if __name__ == "__main__":
    sys.exit(main())
