"""The command line as people use it: wrong input gets a clear message, exit code 2, and nothing is lost."""
