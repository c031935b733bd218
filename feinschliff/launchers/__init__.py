"""Where a run runs: each file is one launcher, found by its name. It starts ``feinschliff train`` somewhere else.

To add one, say for a batch system, write ``launchers/NAME.py``:

1. ``class NameConfig(TypedConfig)`` with ``type: Literal["NAME"] = "NAME"`` and its own fields; a docstring under each
   is its help. ``CONFIG = NameConfig`` at the end of the file.
2. ``class NameLauncher`` with the five methods of ``_protocol.Launcher``. ``submit`` is idempotent on ``job.key``:
   called twice, it starts one process. What it must remember lies in the job's folder, never in memory, because
   ``status`` may be asked by another process.
3. ``create = NameLauncher``; it is made with its config: ``create(config)``.
4. A line in ``tests/launchers/test_contract.py``. ``feinschliff train --help``, the reference page and the JSON schema
   show it without further work.

Nothing here imports a verb: the process that is started does.
"""
