"""`python -m hapacs_node`."""

from hapacs_node.cli import main

main()
