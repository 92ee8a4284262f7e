"""Gives whole studies, series and instances back as they were stored (WADO-RS), without Orthanc in between."""
