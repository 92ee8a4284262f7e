"""The filters that put DICOM into the configuration of HAProxy and Orthanc."""

from __future__ import annotations

import re
import shlex

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ansible.loading import load

dicom = load("filter/dicom")
MODALITY = {"ae_title": "MODALITY", "may": ["echo", "store"]}
WORKSTATION = {"ae_title": "READING ROOM", "may": ["echo", "find", "get", "move"], "host": "192.0.2.7", "port": 104}


def test_the_storing_service_grants_what_is_for_it_only() -> None:
    modalities = dicom.orthanc_modalities([MODALITY, WORKSTATION], "HAPROXY")
    granted = {
        name: {key for key, value in modality.items() if key.startswith("Allow") and value}
        for name, modality in modalities.items()
    }
    assert granted == {
        "MODALITY": {"AllowEcho", "AllowStore"}, "READING_ROOM": {"AllowEcho"}, "HAPROXY": {"AllowEcho"},
    }  # fmt: skip
    assert modalities["READING_ROOM"]["AET"] == "READING ROOM"


def test_the_answering_service_gets_what_each_caller_may_do_and_where_it_listens() -> None:
    assert dicom.dimse_callers([MODALITY, WORKSTATION], "HAPROXY") == [
        {"Title": "MODALITY", "May": ["echo"]},
        {"Title": "READING ROOM", "May": ["echo", "find", "get", "move"], "Host": "192.0.2.7", "Port": 104},
        {"Title": "HAPROXY", "May": ["echo"]},
    ]


def test_titles_that_come_to_one_name_get_different_ones() -> None:
    titles = ["READING ROOM", "READING_ROOM", "READING#ROOM", "READING ROOM_"]
    modalities = dicom.orthanc_modalities([WORKSTATION | {"ae_title": title} for title in titles], "HAPROXY")
    assert [modality["AET"] for modality in modalities.values()] == [*titles, "HAPROXY"]
    assert all(re.fullmatch("[A-Za-z0-9_-]+", name) for name in modalities)


@given(st.text("\"'$\\{}#%`~- abc", min_size=1, max_size=16))
def test_any_text_is_one_word_of_haproxy(text: str) -> None:
    """HAProxy splits words as a shell does, as far as quotes and backslashes go."""
    assert shlex.split(f"acl name -- {dicom.quoted_for_haproxy(text)} end") == ["acl", "name", "--", text, "end"]
