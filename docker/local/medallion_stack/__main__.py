"""`python -m medallion_stack`: what docker/local/stack.py goes on with inside `.venv`."""

import sys

from medallion_stack.cli import main

main(sys.argv[1:])
