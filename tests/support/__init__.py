"""What tests of several kinds need: hosts, DICOM and the ledger of what was acknowledged."""
