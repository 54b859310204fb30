"""`python -m foldlight`."""

from foldlight.cli import main

main()
