"""Which weights move. One file a method, ending in ``CONFIG = ...``; files that start with ``_`` are shared parts.

To add a method ``x``: write ``methods/x.py`` with a ``TypedConfig`` subclass (``type: Literal["x"]``), a subclass of
:class:`feinschliff.methods._method.Method` that overrides what differs, and at the end ``CONFIG = YourConfig`` and
``create = YourMethod``. Torch is imported inside functions only: configurations are read before any work. A method then
works with every task, in the CLI and in the contract tests, by being there.
"""
