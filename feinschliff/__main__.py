"""``python -m feinschliff``: the command line where the script is not on the path."""

from feinschliff.cli.main import run

run()
