"""`python -m titrant` is the command `titrant`."""

from titrant.cli import main

main()
