"""Feinschliff: a pretrained model and your data in, a specialised model with proof out, or the advice not to use it.

The public list grows with the verbs; a test holds it. Knows nothing itself: names are loaded when used, so that
``import feinschliff`` stays fast and free of torch.
"""

from __future__ import annotations

__version__ = "0.1.0"
