"""Destinations of a site: peers that images are sent to by C-STORE or by STOW-RS, folders, and buckets of S3."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeGuard
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, model_validator

from hapacs_node.routing.fields import (
    AccessKey,
    Bucket,
    Endpoint,
    Folder,
    Host,
    Name,
    Part,
    Pem,
    Prefix,
    Region,
    Title,
    Url,
    UserName,
    Window,
)

Parallel = Annotated[int, Field(strict=True, ge=1, le=32)]
Confirm = Literal["response", "query"]
"""What confirms an image: the answer to it alone, or also that the destination lists it afterwards."""
ConfirmDicom = Literal["response", "query", "commitment"]
"""Of a destination of C-STORE: also that it commits itself to keep the image (DICOM PS3.4 J)."""

WantedSyntax = Literal["explicit", "implicit", "jpeg-2000-lossless", "rle-lossless"]
"""A transfer syntax that a destination prefers: Explicit or Implicit VR Little Endian, or a lossless compression."""


class _Destination(Part):
    """What all kinds of destinations have.

    Attributes
    ----------
    mb_per_s
        Limit of the rate, megabytes in a second, over all associations or connections. Not given: none.
    window
        When images are sent, in UTC, such as ``daily 20:00-06:00``. Not given: always.
    timeout_s
        Limit for the connection, and for each answer.
    """

    mb_per_s: Annotated[float, Field(gt=0, le=10000, allow_inf_nan=False)] | None = None
    window: Window | None = None
    timeout_s: Annotated[int, Field(strict=True, ge=1, le=600)] = 30


class DicomDestination(_Destination):
    """A peer that images are sent to by C-STORE.

    Attributes
    ----------
    kind
        ``dicom``, also when it is not given.
    ae_title
        Its AE title.
    host, port
        Its address.
    calling_ae
        The title that calls it. Not given: the site's store title.
    query_ae
        The title that answers a C-FIND, at the same address. Not given: `ae_title` with ``confirm: query``, otherwise
        it can't be asked.
    tls
        Opens associations with TLS and this node's certificate.
    authority
        Certificates (PEM) of the authorities that may have signed the peer's certificate. Not given: the site's own.
    associations
        Associations at the same time, over all nodes.
    confirm
        ``commitment``: after the status of success it is asked for its storage commitment, and an image counts as sent
        when it reports that it keeps it. It has to be a caller that may ``report``. ``query``: a C-FIND has to list the
        image. ``response``: the status is enough.
    maximum_pdu
        Longest PDU that this side accepts.
    operations
        Images of one association that may wait for their answers at the same time, as far as the peer grants it (DICOM
        PS3.7 D.3.3.3). 1: it is not asked for, because some peers end an association in which it was. It helps where
        the way to the peer is long.
    transfer_syntax
        What images are converted to where the peer accepts it: ``explicit``, ``implicit``, or for images that are not
        compressed ``jpeg-2000-lossless`` or ``rle-lossless``. Not given: as they are stored. What the peer does not
        accept as it is stored is decompressed in any case.
    """

    kind: Literal["dicom"] = "dicom"
    ae_title: Title
    host: Host
    port: Annotated[int, Field(strict=True, ge=1, le=65535)]
    calling_ae: Title | None = None
    query_ae: Title | None = None
    tls: bool = False
    authority: Pem | None = None
    associations: Parallel = 2
    confirm: ConfirmDicom = "response"
    maximum_pdu: Annotated[int, Field(strict=True, ge=4096, le=1048576)] = 131072
    operations: Annotated[int, Field(strict=True, ge=1, le=32)] = 1
    transfer_syntax: WantedSyntax | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.authority is not None and not self.tls:
            raise ValueError("authority is given without tls; add tls: true, or remove authority")
        return self

    @property
    def parallel(self) -> int:
        """How many workers may send at the same time, over all nodes."""
        return self.associations

    @property
    def query_title(self) -> str | None:
        """The title that answers a C-FIND; None when it can't be asked."""
        return self.query_ae or (self.ae_title if self.confirm == "query" else None)

    def called(self, title: str) -> Self:
        """Return the same peer under another one of its titles."""
        return self.model_copy(update={"ae_title": title})

    @property
    def where(self) -> str:
        """The peer, for messages."""
        return f"{self.ae_title} at {self.host}:{self.port}"


class WebDestination(_Destination):
    """A peer that images are sent to by STOW-RS (DICOM PS3.18 10.5).

    Attributes
    ----------
    kind
        ``dicomweb``.
    url
        The root of its DICOMweb services. With ``https`` its certificate must have the host's name, and the node shows
        its own.
    user
        The user that logs in with a password (RFC 7617). Not given: no password, but possibly a token.
    credentials
        Name of the password, or without a user of the bearer token (RFC 6750), in ``hapacs_secret_routing``. Not given:
        nobody logs in.
    authority
        Certificates (PEM) of the authorities that may have signed the peer's certificate. Not given: the site's own.
    connections
        Requests at the same time, over all nodes.
    confirm
        ``query``: after an answer of success QIDO-RS has to list the image before it counts as sent. ``response``: the
        answer is enough.
    """

    kind: Literal["dicomweb"]
    url: Url
    user: UserName | None = None
    credentials: Name | None = None
    authority: Pem | None = None
    connections: Parallel = 2
    confirm: Confirm = "response"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.user is not None and self.credentials is None:
            raise ValueError("user is given without credentials; name its password in credentials, or remove user")
        if self.url.startswith("https:"):
            return self
        if self.credentials is not None:
            raise ValueError("credentials would be sent unencrypted; write a url with https, or remove credentials")
        if self.authority is not None:
            raise ValueError("authority is given without https; write a url with https, or remove authority")
        return self

    @property
    def parallel(self) -> int:
        """How many workers may send at the same time, over all nodes."""
        return self.connections

    @property
    def host(self) -> str:
        """The peer's host."""
        return urlsplit(self.url).hostname or ""

    @property
    def where(self) -> str:
        """The peer, for messages."""
        return self.url


class FolderDestination(_Destination):
    """A folder that images are written to, one file for each, in folders by study and series.

    Attributes
    ----------
    kind
        ``folder``.
    path
        The folder, below ``/srv``, ``/mnt`` or ``/media``. Any node that keeps images writes to what it has at
        that path, so it has to be a share that all of them mount.
    must_be_mount
        Refuses a folder that is on the same file system as ``/srv``, ``/mnt`` or ``/media``: a share that is not
        mounted would fill the system's disk.
    writers
        Writers at the same time, over all nodes.
    """

    kind: Literal["folder"]
    path: Folder
    must_be_mount: bool = True
    writers: Parallel = 2

    @property
    def parallel(self) -> int:
        """How many workers may send at the same time, over all nodes."""
        return self.writers

    @property
    def host(self) -> str:
        """No host: a folder is on the node itself."""
        return ""

    @property
    def where(self) -> str:
        """The folder, for messages."""
        return self.path


class S3Destination(_Destination):
    """A bucket of S3 that images are stored in, one object for each, under study and series.

    Attributes
    ----------
    kind
        ``s3``.
    endpoint
        The store. Its certificate must have the host's name.
    bucket
        The bucket, which has to exist.
    prefix
        What all keys begin with. Not given: nothing, a key begins with the study.
    region
        The region that requests are signed for.
    path_style
        Whether the bucket is in the path of a request. Otherwise it is in front of the host's name.
    user
        Name of the access key. It has to permit listing the bucket, and reading and writing objects.
    credentials
        Name of the secret key in ``hapacs_secret_routing``.
    authority
        Certificates (PEM) of the authorities that may have signed the store's certificate. Not given: the site's own.
    connections
        Requests at the same time, over all nodes.
    """

    kind: Literal["s3"]
    endpoint: Endpoint
    bucket: Bucket
    prefix: Prefix | None = None
    region: Region = "us-east-1"
    path_style: bool = True
    user: AccessKey
    credentials: Name
    authority: Pem | None = None
    connections: Parallel = 2

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.path_style and ("." in self.bucket or self.host.replace(".", "").isdigit()):
            raise ValueError(
                f"{self.bucket}.{self.host} can't be the name of a host with a certificate, which path_style: false "
                "needs; set path_style to true, or give a bucket without a dot and an endpoint with a name"
            )
        return self

    @property
    def parallel(self) -> int:
        """How many workers may send at the same time, over all nodes."""
        return self.connections

    @property
    def host(self) -> str:
        """The store's host."""
        return urlsplit(self.endpoint).hostname or ""

    @property
    def address(self) -> str:
        """Where requests go: the endpoint, with the bucket in front of its host's name unless it is in the path."""
        return self.endpoint if self.path_style else self.endpoint.replace("://", f"://{self.bucket}.", 1)

    @property
    def where(self) -> str:
        """The bucket, for messages."""
        return "/".join(filter(None, (self.endpoint, self.bucket, self.prefix)))


def _with_kind(data: object) -> object:
    """Take a destination without a kind for one of C-STORE."""
    return {"kind": "dicom", **data} if isinstance(data, Mapping) and "kind" not in data else data


Destination = Annotated[
    DicomDestination | WebDestination | FolderDestination | S3Destination,
    Field(discriminator="kind"),
    BeforeValidator(_with_kind),
]
"""A destination of any kind."""


def is_asked(destination: Destination) -> TypeGuard[DicomDestination | WebDestination]:
    """Return whether a destination has to list an image before the image counts as sent."""
    return isinstance(destination, DicomDestination | WebDestination) and destination.confirm == "query"


def commits(destination: Destination) -> TypeGuard[DicomDestination]:
    """Return whether a destination has to commit itself to keep an image before the image counts as sent."""
    return isinstance(destination, DicomDestination) and destination.confirm == "commitment"
