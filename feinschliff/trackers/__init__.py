"""Who watches a run: each file is one observer of the loop's events. Observers cannot act."""
