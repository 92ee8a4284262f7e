"""Parsing of DICOMweb paths."""

import pytest

from hapacs_node.record.web import Asked


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/dicom-web/studies", Asked("queried", "studies", None, None, None)),
        ("/dicom-web/series", Asked("queried", "series", None, None, None)),
        ("/dicom-web/studies/1.2/series", Asked("queried", "series", "1.2", None, None)),
        ("/dicom-web/studies/1.2/series/1.3/instances/", Asked("queried", "instances", "1.2", "1.3", None)),
        ("/dicom-web/studies/1.2", Asked("requested", "files", "1.2", None, None)),
        ("/dicom-web/studies/1.2/metadata", Asked("requested", "metadata", "1.2", None, None)),
        (
            "/dicom-web/studies/1.2/series/1.3/instances/1.4/frames/1,2",
            Asked("requested", "frames", "1.2", "1.3", "1.4"),
        ),
        (
            "/dicom-web/studies/1.2/series/1.3/instances/1.4/bulk/7fe00010",
            Asked("requested", "bulk", "1.2", "1.3", "1.4"),
        ),
        ("/dicom-web/studies/1.2/series/1.3/thumbnail", Asked("requested", "thumbnail", "1.2", "1.3", None)),
        ("/hapacs/health", None),
        ("/instances/abc/file", None),
        ("/dicom-web/studies/Doe", Asked("requested", "files", None, None, None)),
    ],
)
def test_a_path_is_parsed_into_event_and_uids(path: str, asked: Asked | None) -> None:
    found = Asked.of(path)
    if path.endswith("Doe"):
        # A text that is no UID must not reach the log.
        assert "Doe" not in str(found)
    else:
        assert found == asked
