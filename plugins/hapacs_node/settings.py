"""The node's configuration file. All of it is checked before it is used."""

import ipaddress
import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, HttpUrl, SecretStr, TypeAdapter, ValidationError, model_validator

from hapacs_node.errors import ConfigurationError
from hapacs_node.section import Section
from hapacs_node.watermarks import Watermarks

DEFAULT_PATH = Path("/etc/hapacs/node.json")

Seconds = Annotated[float, Field(gt=0, le=600)]
Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Host = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9:][A-Za-z0-9_.:-]*$")]
CharacterSet = Literal[
    "ISO_IR 13", "ISO_IR 100", "ISO_IR 101", "ISO_IR 109", "ISO_IR 110", "ISO_IR 126", "ISO_IR 127", "ISO_IR 138",
    "ISO_IR 144", "ISO_IR 148", "ISO_IR 166", "ISO_IR 192", "ISO_IR 203", "GB18030", "GBK",
]  # fmt: skip
_URL: TypeAdapter[HttpUrl] = TypeAdapter(HttpUrl)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Database(Section):
    """The database of index and catalog: a PostgreSQL leader on one of `hosts`."""

    hosts: Annotated[tuple[Host, ...], Field(min_length=1)]
    port: Annotated[int, Field(ge=1, le=65535)] = 5432
    name: Name = "pacs"
    user: Name = "pacs"
    password_file: Path
    ca_file: Path | None = None
    """Authority that signed the servers' certificates; without it the connection isn't encrypted (loopback tests)."""
    connections: Annotated[int, Field(ge=1, le=100)] = 8
    connect_timeout_s: Annotated[int, Field(ge=2, le=60)] = 3
    statement_timeout_s: Seconds = 10
    """Longest wait for the answer to one statement, including its synchronous replication."""
    deadline_s: Seconds = 40
    """Longest time for one catalog transaction, with all reconnections after a failover."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = []
        if self.deadline_s < self.statement_timeout_s:
            problems.append("deadline_s must not be shorter than statement_timeout_s")
        if self.ca_file is None and not all(map(_is_loopback, self.hosts)):
            problems.append("ca_file: is required for hosts other than loopback")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def password(self) -> SecretStr:
        """Read the password from its file."""
        return SecretStr(self.password_file.read_text().strip())


class Eviction(Section):
    """The watermarks of eviction. Only copies that the archive has confirmed are evicted."""

    below_free_bytes: Annotated[int, Field(ge=0)]
    """Free space below which eviction starts (the high watermark)."""
    until_free_bytes: Annotated[int, Field(ge=0)]
    """Free space at which eviction ends (the low watermark)."""
    minimum_age_s: Annotated[int, Field(ge=0)] = 86400
    """A copy that was stored or read within this time is never evicted."""


class Das(Section):
    """The node's own disks."""

    root: Path
    minimum_free_bytes: Annotated[int, Field(ge=0)]
    """Free space below which stores are refused."""
    evict: Eviction | None = None
    """Without it, nothing is evicted."""
    must_be_mount: bool = True
    """Refuse to store when `root` isn't a mount point: an unmounted DAS would fill the system's disk."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.root.is_absolute():
            raise ValueError("root must be an absolute path")
        if self.evict is not None:
            marks = Watermarks(self.minimum_free_bytes, self.evict.below_free_bytes, self.evict.until_free_bytes)
            if misfits := marks.misfits():
                raise ValueError(f"evict: {'; '.join(misfits)}")
        return self


class Credentials(Section):
    """The identity of this node at the archive store."""

    access_key: Annotated[str, Field(min_length=1)]
    secret_key: Annotated[SecretStr, Field(min_length=1)]


class Cas(Section):
    """The archive store: one bucket behind several S3 gateways, the local one first."""

    gateways: Annotated[tuple[str, ...], Field(min_length=1)]
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    region: Name = "us-east-1"
    credentials_file: Path
    """JSON: ``{"access_key": ..., "secret_key": ...}``."""
    ca_file: Path | None = None
    connect_timeout_s: Seconds = 2
    attempt_timeout_s: Seconds = 15
    """Longest time for one request to one gateway."""
    deadline_s: Seconds = 45
    """Longest time for one object, over all gateways. A change of the archive's leading master takes up to 12 s."""
    parallel: Annotated[int, Field(ge=1, le=256)] = 32

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = []
        for gateway in self.gateways:
            try:
                url = _URL.validate_python(gateway)
            except ValidationError:
                problems.append(f"gateways: {gateway!r} is not a URL such as https://10.0.0.11:8333")
                continue
            if (url.scheme == "https") != (self.ca_file is not None):
                problems.append(
                    f"gateways: {gateway!r} needs https with ca_file (http only on loopback, without ca_file)"
                )
            if url.scheme == "http" and not _is_loopback(url.host or ""):
                problems.append(f"gateways: {gateway!r} must be https: images must not cross a network unencrypted")
            if url.path not in {None, "/"} or url.query:
                problems.append(f"gateways: {gateway!r} must not have a path or a query")
        if len(set(self.gateways)) != len(self.gateways):
            problems.append("gateways: one of them is listed twice")
        if self.deadline_s < self.attempt_timeout_s:
            problems.append("deadline_s must not be shorter than attempt_timeout_s")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def credentials(self) -> Credentials:
        """Read the keys from their file."""
        return Credentials.model_validate_json(self.credentials_file.read_bytes())


class Health(Section):
    """The health probes of a node."""

    period_s: Seconds = 5
    again_after_s: Seconds = 1
    """Time after which a failed probe is repeated."""
    often_s: Seconds = 2
    often_again_after_s: Seconds = 0.2
    """The same for the probes of this process itself: its index and its associations."""
    stale_after_s: Seconds = 30
    """Age at which an answer counts as a failure, because the probe hangs."""


class Admission(Section):
    """Which callers are refused first, before a store would fail for all."""

    yielding: frozenset[Annotated[str, Field(pattern=r"^(title|user):.")]] = frozenset()
    """``title:`` and a calling AE title, or ``user:`` and a user of DICOMweb."""
    backlog_s: Annotated[int, Field(ge=1)] = 86400
    """Age of the oldest waiting delivery from which they are refused."""


class Settings(Section):
    """The configuration of a node."""

    node: Name
    site: Name
    database: Database
    das: Das
    cas: Cas
    replace: Literal["allow", "same_caller", "never"] = "allow"
    """Which caller may replace a stored image by one with the same UIDs and other bytes."""
    undeclared: CharacterSet = "ISO_IR 100"
    """Character set (DICOM PS3.3 C.12.1.1.2) of files that declare none."""
    health: Health = Health()
    admission: Admission = Admission()
    results: Path | None = None
    """Directory in which reconcile and scrub leave the result of their last run; without it none is kept."""


def load(path: Path = DEFAULT_PATH) -> Settings:
    """Read the configuration, and check it and the files that it names.

    Parameters
    ----------
    path : Path
        The configuration file (JSON).

    Returns
    -------
    Settings

    Raises
    ------
    ConfigurationError
        With all problems, one on each line with the name of its field.
    """
    try:
        document = json.loads(path.read_bytes())
    except PermissionError as error:
        raise ConfigurationError(
            f"{path}: is readable only for root and group orthanc: run `sudo hapacs-node`"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{path}: can't be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path}: is not JSON: {error}") from error
    try:
        settings = Settings.model_validate(document)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc'])) or 'file'}: {item['msg']}" for item in error.errors()]
        raise ConfigurationError("\n".join(f"{path}: {problem}" for problem in problems)) from None
    problems = [*_file_problems(settings)]
    if problems:
        raise ConfigurationError("\n".join(f"{path}: {problem}" for problem in problems))
    return settings


def _file_problems(settings: Settings) -> list[str]:
    problems = []
    named = {
        "database.password_file": settings.database.password_file,
        "database.ca_file": settings.database.ca_file,
        "cas.credentials_file": settings.cas.credentials_file,
        "cas.ca_file": settings.cas.ca_file,
    }
    readable = set()
    for field, file in named.items():
        if file is None:
            continue
        try:
            if file.read_bytes().strip():
                readable.add(field)
            else:
                problems.append(f"{field}: {file} is empty")
        except OSError as error:
            problems.append(f"{field}: {file} can't be read: {error.strerror}")
    if "cas.credentials_file" in readable:
        try:
            settings.cas.credentials()
        except ValidationError:
            problems.append('cas.credentials_file: must be JSON {"access_key": "...", "secret_key": "..."}')
    return problems
