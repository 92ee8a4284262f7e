"""A month's availability for the hospital's management: objectives, incidents, planned work and drills.

`period` is the month, `numbers` asks the Prometheus of a site, `figures` calculates, `page` writes what was found.
"""
