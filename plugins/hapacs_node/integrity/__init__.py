"""Checks that index, catalog, online copies and archive agree, and repairs what does not."""
