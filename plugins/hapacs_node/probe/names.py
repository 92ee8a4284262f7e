"""Names by which the site knows the probe."""

TITLE = "HAPACS_PROBE"
"""Its calling AE title; no other application entity may use it."""
USER = "hapacs-probe"
"""Its user of DICOMweb."""
CALLERS = frozenset({f"title:{TITLE}", f"user:{USER}"})
"""As the catalog names it. Routing leaves out what these store."""
PATIENT = "HAPACS-PROBE"
"""Patient's Name and Patient ID of its images."""
