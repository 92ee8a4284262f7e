"""The viewer in a real browser, against a site that is up."""
