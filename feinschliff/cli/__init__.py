"""The command line: flags to config, call the verb, print. One file a verb; no torch at start."""
