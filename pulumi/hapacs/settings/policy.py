"""The policy of a site: its disks, its archive, its checks, and where Orthanc comes from."""

from typing import Annotated, Literal

from pydantic import AfterValidator, ByteSize, Field

from hapacs.settings.base import Model
from hapacs.settings.fields import HttpUrl, OrthancVersion, Replication, Sha256, Size, SopClass, UpstreamPath, UserName
from hapacs_node.replication.model import Rate
from hapacs_node.routing.destination import Parallel
from hapacs_node.routing.fields import Window

Replace = Literal["allow", "same_caller", "never"]
OrthancSource = Literal["backport", "debian", "upstream"]
CharacterSet = Literal[
    "ISO_IR 13", "ISO_IR 100", "ISO_IR 101", "ISO_IR 109", "ISO_IR 110", "ISO_IR 126", "ISO_IR 127", "ISO_IR 138",
    "ISO_IR 144", "ISO_IR 148", "ISO_IR 166", "ISO_IR 192", "ISO_IR 203", "GB18030", "GBK",
]  # fmt: skip


class UpstreamFile(Model):
    """A file of Orthanc's authors.

    Attributes
    ----------
    path
        Below the base URL; its last part is ``Orthanc`` or the name of a plugin.
    sha256
        The file's digest; a file with another one is not installed.
    """

    path: UpstreamPath
    sha256: Sha256


def _orthanc_once(files: tuple[UpstreamFile, ...]) -> tuple[UpstreamFile, ...]:
    """Refuse two files of one name, and plugins without the program that they belong to."""
    names = [file.path.rpartition("/")[2] for file in files]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{', '.join(twice)} is listed more than once; keep one")
    if "Orthanc" not in names:
        raise ValueError("the program itself is missing; list a path that ends in Orthanc")
    return files


class OrthancUpstream(Model):
    """Orthanc from its authors instead of Debian's package; plugins that are not listed stay Debian's.

    Attributes
    ----------
    version
        The version that the program reports.
    base_url
        The address from which the controller downloads the files.
    """

    version: OrthancVersion
    base_url: HttpUrl
    files: Annotated[tuple[UpstreamFile, ...], AfterValidator(_orthanc_once)]


class Integrity(Model):
    """How often each node checks, by itself, that images are whole and that all places agree.

    Attributes
    ----------
    scrub
        Whether online and archive copies are read again.
    scrub_gb_per_day, scrub_mb_per_s
        How much a node reads in a day, in gigabytes, and how fast, in megabytes a second.
    scrub_days
        A copy that was read within so many days is not read again.
    reconcile
        Whether index, catalog, archive and online copies are compared each night. Nothing is changed then.
    reconcile_hour
        The comparison starts at a random time within three hours after this hour, in the time zone of the nodes.
    """

    scrub: Annotated[bool, Field(strict=True)] = True
    scrub_gb_per_day: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 100
    scrub_mb_per_s: Annotated[int, Field(strict=True, ge=1, le=2000)] = 20
    scrub_days: Annotated[int, Field(strict=True, ge=1, le=365)] = 30
    reconcile: Annotated[bool, Field(strict=True)] = True
    reconcile_hour: Annotated[int, Field(strict=True, ge=0, le=23)] = 1


class Admission(Model):
    """When callers that yield are refused: near the end of the DAS, while the archive takes no writes, or by age.

    Attributes
    ----------
    yielding_users
        Users of DICOMweb whose images are refused first, as those of callers with `yields`.
    backlog_hours
        They are refused while an image waits longer than that for a destination that is not held.
    """

    yielding_users: tuple[UserName, ...] = ()
    backlog_hours: Annotated[int, Field(strict=True, ge=1, le=8760)] = 24


class Replicate(Model):
    """Copies of a site's images at the other site, which keeps and locks them as its own.

    Attributes
    ----------
    enabled
        Whether images are copied. Set at the primary site, it holds for both; the other fields hold for the images that
        leave the site where they are set.
    past
        Whether images that were stored before are copied too, the newest first.
    connections
        Requests at the same time, over all nodes.
    mb_per_s
        Limit of the rate, megabytes in a second, over all connections. Not given: none.
    limited
        When the limit holds, in UTC, such as ``daily 07:00-19:00``. Not given: always.
    """

    enabled: Annotated[bool, Field(strict=True)] = False
    past: Annotated[bool, Field(strict=True)] = True
    connections: Parallel = 2
    mb_per_s: Rate | None = None
    limited: Window | None = None


class Policy(Model):
    """How full a DAS may be, how many copies the archive keeps, for how long, and how often all is checked.

    Attributes
    ----------
    das_watermark_fraction
        Usage of a node's DAS above which the node stores no more images.
    das_minimum_free_bytes
        Free space below which the node stores no more images, at any usage.
    das_evict_above_fraction, das_evict_to_fraction
        Usage at which eviction starts, and at which it ends. Only copies that the archive has confirmed are evicted,
        the least recently used first. Both are below the watermark: eviction starts before images are refused.
    das_minimum_age_hours
        Images that were stored or read within so many hours are not evicted, even if new images are refused.
    cas_replication
        Further copies in SeaweedFS's notation, in quotes: always 0, then the number in other zones, then the number on
        other nodes of the same zone.
    retention_mode, retention_days
        Lock of an archived image (S3 Object Lock).
    tolerated_node_failures
        Number of nodes that the primary site may lose without an interruption or the loss of an image. 0 permits a site
        of a single node, for trials: losing that node loses images.
    orthanc_source
        Where Orthanc comes from: Debian's packages with the changes of this project, Debian's as they are, or its
        authors' files (``orthanc_upstream``). Not given: the authors' files if they are listed, else ``backport``.
    orthanc_upstream
        The files of Orthanc's authors, for the source ``upstream``.
    replace
        Which caller may replace a stored image by one with the same UIDs and other bytes: any, the one that stored it,
        or none. An image with equal bytes is accepted from any.
    undeclared_character_set
        Character set (DICOM PS3.3 C.12.1.1.2) in which files that declare none are read. After a change, ``hapacs
        reindex`` reads them again.
    accepted_sop_classes
        SOP classes that are taken besides all storage classes that Orthanc knows: private and new ones.
    wado_uri
        Whether single images are also given by WADO-URI (DICOM PS3.18 9), for viewers that know nothing else.
    integrity
        Checks that each node runs by itself.
    admission
        When callers that yield are refused.
    replicate
        Copies of the site's images at the other site.
    """

    das_watermark_fraction: Annotated[float, Field(gt=0, le=0.98)] = 0.9
    das_minimum_free_bytes: Annotated[Size, Field(ge=64 * 1024**2)] = ByteSize(10 * 1024**3)
    das_evict_above_fraction: Annotated[float, Field(gt=0, le=0.98)] = 0.85
    das_evict_to_fraction: Annotated[float, Field(gt=0, le=0.98)] = 0.8
    das_minimum_age_hours: Annotated[int, Field(strict=True, ge=1, le=8760)] = 24
    cas_replication: Replication = "010"
    retention_mode: Literal["GOVERNANCE", "COMPLIANCE"] = "COMPLIANCE"
    retention_days: Annotated[int, Field(strict=True, ge=1, le=36500)] = 3650
    tolerated_node_failures: Annotated[int, Field(strict=True, ge=0, le=1)] = 1
    orthanc_source: OrthancSource | None = None
    orthanc_upstream: OrthancUpstream | None = None
    replace: Replace = "allow"
    undeclared_character_set: CharacterSet = "ISO_IR 100"
    accepted_sop_classes: tuple[SopClass, ...] = ()
    wado_uri: Annotated[bool, Field(strict=True)] = False
    integrity: Integrity = Integrity()
    admission: Admission = Admission()
    replicate: Replicate = Replicate()

    @property
    def orthanc(self) -> OrthancSource:
        """The source of Orthanc that is in effect."""
        return self.orthanc_source or ("upstream" if self.orthanc_upstream else "backport")
