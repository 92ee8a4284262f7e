"""A site that is up: how to reach its nodes and services, what they report, and what follows from it."""
