"""One module for each version, in plain SQL."""
