"""The catalog's migrations, run by `hapacs-node migrate`.

Each must leave a schema that the version before can work with: nodes are upgraded one after the other.
"""
