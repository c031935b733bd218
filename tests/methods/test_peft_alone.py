"""PEFT is imported without bitsandbytes, which can be imported afterwards."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from feinschliff.methods import _peft
peft = _peft.load()
assert peft.LoraConfig(r=2).r == 2
assert "bitsandbytes" not in sys.modules
import torch
net = torch.nn.Sequential(torch.nn.Linear(2, 2))
peft.inject_adapter_in_model(peft.LoraConfig(r=2, target_modules=["0"]), net)
assert "bitsandbytes" not in sys.modules
from feinschliff.models import nf4_kernel
from feinschliff.models.quantised import plain_nf4
assert nf4_kernel.kernel("cpu", plain_nf4).unpack
assert _peft.load() is peft
"""


def test_in_a_process_of_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
