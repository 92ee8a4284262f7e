"""The modality worklist: a feed that a RIS fills, and its C-FIND (DICOM PS3.4 K)."""
