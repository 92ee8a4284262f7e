"""Returns whole studies, series and instances as they were stored (WADO-RS), without Orthanc."""
