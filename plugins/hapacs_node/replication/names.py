"""Names that both sites know."""

DESTINATION = "second site"
"""The destination in the outbox. No destination of a rule can have this name: it has a blank."""
USER = "hapacs-replica"
"""The user of DICOMweb as which the second site's balancer passes copies on; no person may have this name."""
CALLER = f"user:{USER}"
"""As the catalog of the second site names it. Rules leave copies out: the first site has sent them."""
PATH = "/hapacs/replicas"
"""Where the second site says what its archive has."""
RANGES_PATH = "/hapacs/ranges"
"""Where the second site says what its catalog has, for the comparison of both sites."""
DIFFERENCES = ("only_here", "only_there", "different")
"""How images differ that make two sites unequal."""
