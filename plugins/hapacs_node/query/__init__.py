"""Search of studies, series and instances, by QIDO-RS and C-FIND."""
