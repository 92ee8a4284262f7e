"""Storage commitment, push model (DICOM PS3.4 J): requests are kept, each copy is read again, callers get reports."""
