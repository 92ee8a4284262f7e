"""Proves that a deployment works: all services healthy, real files in and out, no access for strangers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from httpx import HTTPError

from hapacs import interruption
from hapacs.errors import HapacsError, UsageError
from hapacs.verify.report import Check, CheckFailedError, OnCheck, Report

if TYPE_CHECKING:
    from hapacs.deployment import Deployment
    from hapacs.site.access import Site
    from hapacs.site.running import RunningSite
    from hapacs.verify.round_trip import RoundTrip

__all__ = ["Check", "Report", "names", "run"]


class Evidence:
    """Evidence for the checks of one site; each part is collected once, when the first check needs it.

    Parameters
    ----------
    site
        The site under verification.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self._failed: HapacsError | None = None
        self._files: TemporaryDirectory[str] | None = None

    @cached_property
    def running(self) -> RunningSite:
        """The running site, as its nodes describe it."""
        from hapacs.site.collect import collect  # noqa: PLC0415 - imported when needed because it is slow to import

        return collect(self.site)

    @property
    def round_trip(self) -> RoundTrip:
        """The real files that were stored and read back."""
        if self._failed is not None:
            raise CheckFailedError(f"no file could be stored: {self._failed.message}")
        try:
            return self._round_trip
        except HapacsError as error:
            self._failed = error
            raise

    @cached_property
    def _round_trip(self) -> RoundTrip:
        from hapacs.verify import marked, round_trip  # noqa: PLC0415

        marked.remove_leftovers(self.site)
        self._files = TemporaryDirectory(prefix="hapacs-verify-")
        return round_trip.run(self.site, Path(self._files.name))

    def close(self) -> None:
        """Remove the files that were sent, here and at the site."""
        from hapacs.dicom import marks  # noqa: PLC0415
        from hapacs.site import marked  # noqa: PLC0415

        if self._files is not None:
            self._files.cleanup()
            # The next run begins by removing images that can't be removed now.
            with suppress(HapacsError, HTTPError):
                marked.remove(self.site, marks.VERIFY)

    def running_after_storing(self) -> RunningSite:
        """Return the running site after files were stored: only then a balancer must have chosen a writer."""
        _ = self.round_trip
        from hapacs.site.collect import collect  # noqa: PLC0415

        return collect(self.site)


@dataclass(frozen=True)
class Entry:
    """A check that can be run.

    Attributes
    ----------
    look
        Logs and files to look at when it fails.
    """

    name: str
    look: str
    function: Callable[[Evidence], str]


def _entries() -> tuple[Entry, ...]:
    from hapacs.verify import (  # noqa: PLC0415
        archive,
        marked,
        refusals,
        retrieving,
        services,
        storing,
        unauthorized,
        web_viewer,
    )

    orthanc = (
        "`journalctl -u orthanc-store` and `-u orthanc-query` on the nodes, HAProxy's log on the node with the address"
    )
    web = "`journalctl -u haproxy` on the node with the address, `journalctl -u orthanc-query` on the nodes"
    cas = "`journalctl -u seaweedfs-s3` and `sudo hapacs-node` on the nodes"
    ports = "pulumi/hapacs/services/table.py, and the role that configures that port"
    return (
        Entry("services", "the units named, and `hapacs status`", lambda e: services.check_services(e.site, e.running)),
        Entry("etcd-quorum", "`journalctl -u etcd` on the nodes", lambda e: services.check_etcd(e.running)),
        Entry("database", "`patronictl list` on a node", lambda e: services.check_database(e.running)),
        Entry("virtual-address", "keepalived's log", lambda e: services.check_virtual_address(e.running)),
        Entry("c-echo", orthanc, lambda e: storing.check_echo(e.site)),
        Entry("c-store", orthanc, lambda e: storing.check_store(e.round_trip)),
        Entry(
            "one-writer",
            "`show table store_dicom` at /run/haproxy/admin.sock of each node",
            lambda e: services.check_writer(e.running_after_storing()),
        ),
        Entry("same-through-each-node", orthanc, lambda e: storing.check_nodes(e.site, e.round_trip)),
        Entry("pixel-data", orthanc, lambda e: storing.check_pixels(e.round_trip)),
        Entry("catalog-and-das", cas, lambda e: storing.check_copies(e.round_trip)),
        Entry("cas-objects", cas, lambda e: archive.check_objects(e.site, e.round_trip)),
        Entry("cas-deletion-refused", cas, lambda e: refusals.check_deletion(e.site, e.round_trip)),
        Entry("cas-changes-refused", cas, lambda e: refusals.check_changes(e.site)),
        Entry("c-find", orthanc, lambda e: retrieving.check_find(e.site, e.round_trip)),
        Entry("c-get", orthanc, lambda e: retrieving.check_get(e.site, e.round_trip)),
        Entry("c-move", orthanc, lambda e: retrieving.check_move(e.site, e.round_trip)),
        # Before STOW-RS stores some of the files in other bytes.
        Entry("wado-rs-study", web, lambda e: retrieving.check_wado_studies(e.site, e.round_trip)),
        Entry("stow-rs", web, lambda e: retrieving.check_stow(e.site, e.round_trip)),
        Entry("qido-rs", web, lambda e: retrieving.check_qido(e.site, e.round_trip)),
        Entry("wado-rs-instance", web, lambda e: retrieving.check_wado(e.site, e.round_trip)),
        Entry("wado-rs-frames", web, lambda e: retrieving.check_frames(e.site, e.round_trip)),
        Entry("wado-rs-rendered", web, lambda e: retrieving.check_rendered(e.site, e.round_trip)),
        Entry("callers-refused", web, lambda e: storing.check_callers(e.site)),
        Entry("dicomweb-login", web, lambda e: unauthorized.check_web_login(e.site)),
        Entry(
            "viewer",
            "`journalctl -u viewer` on the nodes, `journalctl -u haproxy` on the node with the address",
            lambda e: web_viewer.check_viewer(e.site),
        ),
        Entry("dicom-tls", web, lambda e: unauthorized.check_dicom_tls(e.site)),
        Entry("inner-ports-shut", ports, lambda e: unauthorized.check_inner_ports(e.site, e.running)),
        Entry("local-ports-shut", ports, lambda e: unauthorized.check_local_ports(e.site)),
        Entry("images-removed", orthanc, lambda e: marked.check_removed(e.site)),
        Entry(
            "no-restarts", "the units named", lambda e: services.check_restarts(e.running, e.running_after_storing())
        ),
    )


def names() -> list[str]:
    """Return the names of all checks, in their order."""
    return [entry.name for entry in _entries()]


def run(deployment: Deployment, on_check: OnCheck = lambda _: None, only: Sequence[str] = ()) -> Report:
    """Verify a deployment that is up.

    Parameters
    ----------
    on_check
        Called with each finished check, by one thread at a time; checks of several sites are interleaved.
    only
        Names of the checks to run; empty runs all.

    Returns
    -------
    Report
        A check that could not be run has failed; its detail says why.

    Raises
    ------
    HapacsError
        When the deployment is not up.
    UsageError
        When there is no check with one of these names.
    """
    from hapacs.site.access import sites  # noqa: PLC0415

    entries = _entries()
    known = [entry.name for entry in entries]
    if unknown := [name for name in only if name not in known]:
        raise UsageError(f"There is no check {', '.join(unknown)}.", f"Known checks: {', '.join(known)}.")
    wanted = [entry for entry in entries if not only or entry.name in only]
    found = sites(deployment)
    lock = threading.Lock()

    def verified(site: Site) -> list[Check]:
        checks = []
        with closing(Evidence(site)) as evidence:
            for entry in wanted:
                if interruption.requested():
                    break
                name = entry.name if len(found) == 1 else f"{site.name}: {entry.name}"
                check = _run(entry, name, evidence)
                # A check that fails because the command is being interrupted is not reported.
                if not interruption.requested():
                    checks.append(check)
                    with lock:
                        on_check(check)
        return checks

    # Sites are independent, and each check spends most of its time waiting for its site.
    with interruption.Workers(len(found)) as threads:
        return Report(tuple(check for checks in threads.map(verified, found) for check in checks))


def _run(entry: Entry, name: str, evidence: Evidence) -> Check:
    begun = time.monotonic()
    try:
        detail, ok = entry.function(evidence), True
    except HapacsError as error:
        detail, ok = f"{error.message.rstrip('.')}. Look at {entry.look}.", False
    # An unexpected error in one check must not stop the others: the report has all checks.
    except Exception as error:  # noqa: BLE001
        detail, ok = f"{type(error).__name__}: {error}. Look at {entry.look}.", False
    return Check(name, ok, detail, round(time.monotonic() - begun, 1))
