"""Keeps Orthanc from answering for a corrected study.

Most answers come from our plugin, which applies corrections. Orthanc itself answers the rest of DICOMweb: bulk data,
pictures of whole series, and everything in XML. It knows no corrections.
"""

from dataclasses import dataclass

from hapacs_node.catalog import corrections
from hapacs_node.catalog.database import Database
from hapacs_node.record.web import Asked

# Without a patient's attributes, so that they are as right after a move as before it.
_PIXELS = frozenset({"bulk", "frames", "rendered", "thumbnail"})


@dataclass(frozen=True)
class Gate:
    """Decides whether Orthanc may answer a request.

    Parameters
    ----------
    database : Database
        The catalog's.
    """

    database: Database

    def passes(self, path: str) -> bool:
        """Return whether Orthanc may answer a GET.

        Parameters
        ----------
        path : str
            Without query string.

        Raises
        ------
        CatalogError
            When the catalog can't be asked; then it may not.
        """
        asked = Asked.of(path)
        if asked is None:
            return True
        if asked.study is None or asked.what not in _PIXELS:
            return not self.database.run(lambda c: corrections.change_answers(c, asked.study))
        study, series = asked.study, asked.series
        return not self.database.run(lambda c: corrections.hide(c, study, series))
