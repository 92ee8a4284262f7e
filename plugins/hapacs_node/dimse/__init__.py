"""The query/retrieve title: C-ECHO, C-FIND, C-MOVE and C-GET (DICOM PS3.4 A and C), from our catalog and storage."""
