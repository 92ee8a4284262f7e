"""Whole sites on machines of another kind than the lab's, each made by its test and removed by it."""
