"""Keeps numpy out of a process, when it is imported before pydicom.

Routing converts images with numpy, so it is on the nodes, and pydicom imports it wherever it can: 18 MB and threads in
each Orthanc, which never looks at a pixel here.
"""

import sys

# An import of what is None here fails like that of a package that is not installed.
sys.modules["numpy"] = None  # type: ignore[assignment]
