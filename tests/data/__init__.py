"""Tests of the rows: readers, columns, duplicates, splits, checks."""
