"""What is learned. One file a task, ending in ``CONFIG = ...``; files that start with ``_`` are shared parts and work.

To add a task ``x``: write ``tasks/x.py``, which imports nothing heavy, with a ``TypedConfig`` subclass (``type:
Literal["x"]``), a function ``create(config, context) -> Task`` and ``CONFIG = YourConfig`` at the end; and
``tasks/_x.py`` with a class that keeps :class:`feinschliff.tasks._task.Task`, which ``create`` imports. CLI help, the
reference page and the contract tests find it by being there. A third party does the same in a package of its own and
names the module in the entry-point group ``feinschliff.tasks``.
"""
