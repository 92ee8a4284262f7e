"""Index and catalog from nothing but the archive."""
