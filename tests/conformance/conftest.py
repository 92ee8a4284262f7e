"""The site that clients of others call: a lab that is up, ``HAPACS_TEST_DEPLOYMENT`` (default `lab`).

With ``HAPACS_CONFORMANCE_RESULTS`` the table of the outcome is written to that file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from hapacs.bench import footprint
from hapacs.deployment import Deployment
from hapacs.load.images import Study
from hapacs.site.access import Site, sites
from tests.conformance import dcmtk
from tests.conformance.results import Result, page
from tests.conformance.target import Made, Target, write

_RESULTS = pytest.StashKey[list[Result]]()


def _installed(name: str) -> str:
    """Return the version of a package; nothing when it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


_VERSIONS: dict[str, Callable[[], str]] = {
    "DCMTK": dcmtk.version,
    "pynetdicom": partial(_installed, "pynetdicom"),
    "dicomweb-client": partial(_installed, "dicomweb-client"),
}


@pytest.fixture(scope="session")
def site() -> Site:
    """Return the primary site."""
    return sites(Deployment.load(os.environ.get("HAPACS_TEST_DEPLOYMENT", "lab")))[0]


@pytest.fixture(scope="session")
def target(site: Site) -> Target:
    """Return where clients call."""
    dicom, title = site.contract["dicom"], site.destination[0]
    # Makes the files of the certificate.
    site.tls("edge", client=True)
    own = site.deployment.pki_directory / "controller-edge"
    return Target(
        site.vip, dicom["port"], dicom["tls_port"], dicom["store_ae"], dicom["query_ae"],
        site.contract.get("worklist", {}).get("ae_title", ""), title, site.destination[2],
        f"https://{site.vip}:{site.contract['https_port']}",
        "verify", site.secrets["hapacs_secret_dicomweb_users"]["verify"],
        site.authority_file("edge"), own.with_suffix(".crt"), own.with_suffix(".key"),
    )  # fmt: skip


@pytest.fixture(scope="session")
def made(site: Site, target: Target, tmp_path_factory: pytest.TempPathFactory) -> Generator[Made]:
    """Return a study that storescu stored; it is removed afterwards."""
    study = write(tmp_path_factory.mktemp("study"))
    try:
        done = dcmtk.store(target, list(study.files.values()), tmp_path_factory.mktemp("storescu"))
        assert done.returncode == 0, done.stderr[-2000:]
        yield study
    finally:
        footprint.remove(site, [Study(study.uid, "", study.patient, ())])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note the outcome of each test; one that does not come to its call has failed, or was skipped."""
    report = yield
    if isinstance(item, pytest.Function) and (report.when == "call" or not report.passed):
        client, does = str(item.module.CLIENT), (item.function.__doc__ or item.name).splitlines()[0].rstrip(".")
        why = f": {report.longrepr[2].removeprefix('Skipped: ')}" if isinstance(report.longrepr, tuple) else ""
        if (how := getattr(item, "callspec", None)) is not None:
            does += f" ({how.id})"
        known = _VERSIONS[client]()
        noted = item.session.stash.setdefault(_RESULTS, [])
        noted.append(Result(client, known, does, f"{report.outcome}{why}"))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the table."""
    if (file := os.environ.get("HAPACS_CONFORMANCE_RESULTS")) and (noted := session.stash.get(_RESULTS, [])):
        Path(file).write_text(page(noted, version("hapacs"), datetime.now(UTC)), encoding="utf-8")
