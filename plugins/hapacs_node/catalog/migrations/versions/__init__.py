"""One module a version; plain SQL."""
