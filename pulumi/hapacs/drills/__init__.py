"""Drills: faults on a site under load, with a proof that each took effect, deadlines, and a check of every image.

`table` declares the drills, `run` conducts one, `scene` is the site that it happens on, `load` stores and reads
meanwhile, `guardian` undoes the fault when the command is gone, `report` writes what happened.
"""
