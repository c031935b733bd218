"""The rows: sources, columns, quality, duplicates, splits. Knows no model and no task."""
