"""PEFT, imported late and without bitsandbytes.

Where that is installed PEFT imports it, which takes seconds, for layers that are not used here: a base in fewer bits is
``models.quantised``. It is hidden while PEFT looks for it, and can be imported afterwards.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

UNUSED = "bitsandbytes"


def load() -> Any:
    """The module."""
    if "peft" in sys.modules or UNUSED in sys.modules:
        return importlib.import_module("peft")
    sys.modules[UNUSED] = None  # type: ignore[assignment]
    try:
        peft = importlib.import_module("peft")
        peft.import_utils.is_bnb_available()  # it looks once, and keeps what it found
        return peft
    finally:
        del sys.modules[UNUSED]
