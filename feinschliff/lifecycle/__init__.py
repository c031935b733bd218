"""The verbs, one file each. The word of a verb is the same in the CLI, here, in tests and in the docs."""
