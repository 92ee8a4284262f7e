"""Benchmarks: a site against a bare Orthanc on one of its nodes, alternating in one run."""
