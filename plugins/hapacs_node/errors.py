"""The errors of a node: a small family, each message says what to look at next.

Inside Orthanc any of them makes the request fail: a C-STORE is answered 0xA700 and the modality keeps the image.
"""


class NodeError(Exception):
    """Anything that a node refuses or can't do."""


class ConfigurationError(NodeError):
    """The configuration file can't be used; the message lists every problem."""


class SchemaError(NodeError):
    """The database's schema isn't the one that this program works with."""


class RefusedError(NodeError):
    """What was asked for is never right: empty bytes, a key that isn't one."""


class CatalogError(NodeError):
    """The catalog refused: an unknown attachment, or one that is known with other content."""


class CatalogUnavailableError(CatalogError):
    """No database leader answered before the deadline."""


class DasError(NodeError):
    """The node's own disks could not keep or give the bytes."""


class DasFullError(DasError):
    """The DAS is below its free-space watermark."""


class DasMissingError(DasError):
    """The DAS holds no copy."""


class DasCorruptError(DasError):
    """The DAS copy isn't what was stored."""


class CasError(NodeError):
    """The archive store refused or failed."""


class CasUnavailableError(CasError):
    """No gateway did the work before the deadline."""


class CasMissingError(CasError):
    """Every gateway says that the object doesn't exist."""


class CasConflictError(CasError):
    """Other bytes lie under the key, or the bytes read are not those that were stored."""


class BusyError(NodeError):
    """Too much is asked for at a time."""
