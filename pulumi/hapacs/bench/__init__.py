"""Benchmarks: a site against a bare Orthanc on one of its nodes, turn by turn in one run."""
