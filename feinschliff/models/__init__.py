"""The base model: where it comes from, what it is, how it is loaded and saved. Knows no data and no task."""
