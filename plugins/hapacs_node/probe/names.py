"""Names by which the site knows the probe."""

TITLE = "HAPACS_PROBE"
"""Its calling AE title; no other application entity may use it."""
USER = "hapacs-probe"
"""Its user of DICOMweb."""
CANARY_CALLER = f"title:{TITLE}"
"""As the catalog names it when it stores by DICOM. These images are copied to the other site, as canaries."""
CALLERS = frozenset({CANARY_CALLER, f"user:{USER}"})
"""As the catalog names it. Rules leave out what these store."""
PATIENT = "HAPACS-PROBE"
"""Patient's Name and Patient ID of its images."""
