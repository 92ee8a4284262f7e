"""The exceptions of a node. Each message says what to check next.

Inside Orthanc each of them fails the request: a C-STORE is answered 0xA700, and the modality keeps the image.
"""


class NodeError(Exception):
    """A node refuses a request, or can't complete it."""


class ConfigurationError(NodeError):
    """The configuration file can't be used; the message lists every problem."""


class SchemaError(NodeError):
    """The database's schema has another version than this program needs."""


class RefusedError(NodeError):
    """The request itself is invalid: empty bytes, a malformed name."""


class BadRequestError(RefusedError):
    """A parameter of a web request has no meaning."""


class ReplacementRefusedError(RefusedError):
    """The policy forbids to replace an image that is stored with other bytes."""


class NotAdmittedError(RefusedError):
    """A limit is near, and the caller yields to others."""


class FencedError(RefusedError):
    """The other site leads, and this one stores copies only."""


class CatalogError(NodeError):
    """The catalog refused: the attachment is unknown, or exists with other bytes."""


class CatalogUnavailableError(CatalogError):
    """No database leader answered before the deadline."""


class DasError(NodeError):
    """The node's own disks could not write or read the bytes."""


class DasFullError(DasError):
    """The DAS is below its free-space watermark."""


class DasMissingError(DasError):
    """The DAS has no copy."""


class DasCorruptError(DasError):
    """The DAS copy has other bytes than were stored."""


class CasError(NodeError):
    """The archive store refused or failed."""


class CasUnavailableError(CasError):
    """No gateway completed the request before the deadline."""


class CasMissingError(CasError):
    """Every gateway answers that the object doesn't exist."""


class CasDamagedError(CasUnavailableError):
    """The archive answers, but can't return the object: no copy of it is whole."""


class CasConflictError(CasError):
    """The key has other bytes than were stored."""


class OrthancUnavailableError(NodeError):
    """Orthanc does not answer requests."""


class BusyError(NodeError):
    """Too many requests at the same time."""


class UncorrectedError(NodeError):
    """A file can't be given with its correction, and must not be given without."""
