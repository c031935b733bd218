"""Steps with the element-wise pieces of layers compiled beside steps without, interleaved, and what compiling takes.

    scripts/bench compiled [--data-dir DIR] [--model NAME] [--rounds 7] [--threads 2]

Eight GSM8K chats forward and backward, LoRA of rank 16 on all linear layers in bf16; medians. Compiled code is kept by
torch in the machine's temporary folder: the first run there takes longest to compile. Needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch
from nf4 import ROWS, medians, prepared


def main() -> None:
    """Print one line."""
    from feinschliff.engine.step import backward

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default=str(Path(__file__).resolve().parents[2] / "shared" / "data"))
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        run = prepared(arguments, "none", Path(folder))
        body, learner = run.network.body, run.learner

        def step(on: bool) -> None:
            body.use_compiled(on)
            backward(learner, learner.order(0, 0)[:ROWS])
            learner.masters.discard_gradients()

        step(False)
        begin = time.perf_counter()
        step(True)
        first = time.perf_counter() - begin
        found = medians({"plain": lambda: step(False), "compiled": lambda: step(True)}, arguments.rounds)
        share = found["compiled"] / found["plain"]
        print(json.dumps({"first step compiled, s": first, **found, "share": share}))


if __name__ == "__main__":
    main()
