"""Orthanc's storage area: the online copy on the node's DAS, the archive copy in the site's CAS."""
