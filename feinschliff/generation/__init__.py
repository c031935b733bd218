"""Sampling tokens from decoder language models: one port, several backends. Knows no task, no data and no file of a
model.

- ``port``: requests, answers, pieces of answers, and what a backend must do.
- ``transformers_backend``: a model of transformers in this process. Below it ``scheduling`` (which rows are computed),
  ``choosing`` (which token comes next), ``structured`` (grammars), ``text`` (characters and stop strings), ``forward``,
  ``llama_like`` and ``one_by_one`` (ways through a model), ``ragged_attention`` and ``kv_cache``.
- ``openai_backend``: any endpoint that speaks OpenAI's HTTP.
- ``scripted``: set answers, for tests.

To add a backend, say for a server with its own protocol, write ``generation/NAME_backend.py``:

1. A class with the two methods of ``port.Backend``. ``stream`` yields a ``Piece`` whenever text comes, the last one of
   each answer with the whole ``Generation`` in it; ``generate`` is ``port.collect`` over the same pieces.
2. Requests are checked before anything is computed or sent, and all faults raised at once: ``port.faults_of_form`` has
   those of form, add those of the backend (``port.refuse``).
3. What ``SamplingConfig`` asks for and the backend cannot do is a fault too, never ignored.
4. Libraries are imported where they are used; one that may be missing is an extra in ``pyproject.toml`` and its absence
   a ``ResourceError`` with the remedy.
5. Add it to ``tests/generation/test_contract.py``: the promises of the port are tested there for every backend.
"""
