"""STOW-RS for the service that stores (DICOM PS3.18 10.5)."""
