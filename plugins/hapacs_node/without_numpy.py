"""Keeps numpy out of a process, when it is imported before pydicom.

Routing converts images with numpy, so it is on the nodes, and pydicom imports it wherever it can: 18 MB and threads in
each Orthanc, which never looks at a pixel here.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _NoNumpy(MetaPathFinder):
    """Finds that numpy is not installed.

    ``None`` in ``sys.modules`` would do so too, but psycopg takes what is there for numpy itself, and can't send an
    array then.
    """

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] == "numpy":
            raise ModuleNotFoundError(f"{fullname} is kept out of this process", name=fullname)
        return None


sys.meta_path.insert(0, _NoNumpy())
