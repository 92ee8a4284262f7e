"""The synthetic patient: stores, finds and retrieves a marked image, so that a quiet night has measurements too."""
