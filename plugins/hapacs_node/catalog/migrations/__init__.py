"""The catalog's migrations, run by `hapacs-node migrate`.

After each, the previous version of the program must still work, because nodes are upgraded one after the other.
"""
