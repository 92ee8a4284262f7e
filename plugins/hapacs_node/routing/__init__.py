"""Routing: rules decide which stored images leave for which destination, and workers send them.

The planner turns events into tasks of the outbox by the rules; the workers send tasks by C-STORE or STOW-RS, or write
files or objects. Both run in the service `hapacs-routing`, never inside Orthanc.
"""
