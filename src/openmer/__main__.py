"""`python -m openmer` is the command `openmer`."""

from openmer.cli import main

main()
