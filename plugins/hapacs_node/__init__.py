"""What runs inside and beside Orthanc on a hapacs node."""
