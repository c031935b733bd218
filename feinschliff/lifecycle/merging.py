"""What merging into the base in full precision comes to, where adapters learned over a base in fewer bits.

The adapters learned to make up for what rounding took from the base too, and that is gone after merging: so the model
folder's loss on the validation rows is measured and stands beside the trained network's. Knows no bits.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from feinschliff import registry
from feinschliff.engine.batching import FORWARD_TOKENS
from feinschliff.engine.scoring import outputs
from feinschliff.lifecycle.prepare import Prepared
from feinschliff.results.training import QuantisedBase
from feinschliff.store.run_directory import RunDirectory


def compared(
    prepared: Prepared, kept: dict[str, Tensor], directory: RunDirectory, say: Callable[[str], None]
) -> QuantisedBase | None:
    """Both losses on all validation rows, said and added to what is known of the base; None: it was held as it is.

    Args:
        kept: the trained weights that were merged, which the network keeps.
        directory: the run, with its model folder written.
    """
    held: QuantisedBase | None = prepared.method.quantised
    if held is None:
        return None
    validation, name = prepared.validation, held.quantization
    if not validation.examples:
        say(f"merged into the base in full precision, not compared with the {name} base: there are no validation rows")
        return held
    prepared.learner.masters.load(kept)
    over = prepared.task.validation_loss(prepared.validation_outputs(), validation)
    task = registry.load("task", prepared.config.task.type).create(prepared.config.task, prepared.task.context)
    network = task.load_finished(directory.model, prepared.network.pooling).eval()
    tokens = min(prepared.config.training.micro_batch_tokens, FORWARD_TOKENS)
    found = outputs(task, network, validation.table, max_tokens=tokens, targets=validation.targets)
    merged = task.validation_loss(found, validation)
    say(
        f"merged into the full-precision base: validation loss {merged:.4f} (computed in fp32), over the {name} base "
        f"{over:.4f} (as trained, in {prepared.precision})"
    )
    return held.model_copy(update={"validation_loss": over, "merged_validation_loss": merged})
