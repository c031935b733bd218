"""The loop: batches, steps, precision, checkpoints, the prefix cache. Knows no task and no method by name."""
