"""The outbox: what is still to be sent, to which destination, and what became of it.

The rows are in the catalog (`hapacs_node.catalog.tasks`). This package decides when a task or a destination is tried
again, and what an answer of a destination means.
"""
