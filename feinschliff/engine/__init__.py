"""The loop: batches, steps, precision, checkpoints, the prefix cache. Knows no task and no method by name.

Shape suffixes used in this floor: T tokens of all rows laid end to end, B rows, L longest row, H heads, D head width,
d hidden width, C classes.
"""
