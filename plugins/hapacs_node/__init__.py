"""The storage area inside Orthanc, and the command `hapacs-node` beside it, on a hapacs node."""
