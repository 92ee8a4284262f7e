"""The site that clients of others call: a lab that is up, ``HAPACS_TEST_DEPLOYMENT`` (default `lab`).

With ``HAPACS_CONFORMANCE_RESULTS`` the table of the outcome is written to that file.
"""

from __future__ import annotations

import json
import os
import subprocess
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

CLIENT = "client"
"""The parameter of a test that several clients do."""
_RESULTS = pytest.StashKey[list[Result]]()


def _installed(name: str) -> str:
    """Return the version of a package; nothing when it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _packaged(name: str) -> str:
    """Return the version of a package of Debian."""
    asked = ["dpkg-query", "--show", "--showformat=${Version}", name]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout


def _locked() -> str:
    """Return the version of dcmjs-dimse that is installed."""
    lock = json.loads((Path(__file__).parent / "clients" / "package-lock.json").read_bytes())
    return str(lock["packages"]["node_modules/dcmjs-dimse"]["version"])


_VERSIONS: dict[str, Callable[[], str]] = {
    "DCMTK": dcmtk.version,
    "pynetdicom": partial(_installed, "pynetdicom"),
    "dicomweb-client": partial(_installed, "dicomweb-client"),
    "odil": partial(_packaged, "odil"),
    "PixelMed": partial(_packaged, "libpixelmed-java"),
    "dcmjs-dimse": _locked,
    "curl": partial(_packaged, "curl"),
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
        does = (item.function.__doc__ or item.name).splitlines()[0].rstrip(".")
        why = f": {report.longrepr[2].removeprefix('Skipped: ')}" if isinstance(report.longrepr, tuple) else ""
        how = getattr(item, "callspec", None)
        if how is None or CLIENT not in item.fixturenames:
            client = str(item.module.CLIENT)
            does += f" ({how.id})" if how is not None else ""
        else:
            client = how.id
        known = _VERSIONS[client]()
        noted = item.session.stash.setdefault(_RESULTS, [])
        noted.append(Result(client, known, does, f"{report.outcome}{why}"))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the table."""
    if (file := os.environ.get("HAPACS_CONFORMANCE_RESULTS")) and (noted := session.stash.get(_RESULTS, [])):
        Path(file).write_text(page(noted, version("hapacs"), datetime.now(UTC)), encoding="utf-8")
