"""The filters that put DICOM into the configuration of HAProxy and Orthanc."""

from __future__ import annotations

import re
import shlex

import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_RQ

from tests.unit.ansible.loading import load

dicom = load("filter/dicom")
MODALITY = {"ae_title": "MODALITY", "may": ["echo", "store"]}
WORKSTATION = {"ae_title": "READING ROOM", "may": ["echo", "find", "get", "move"], "host": "192.0.2.7", "port": 104}


def test_the_association_request_is_read_back_as_it_was_meant() -> None:
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(bytes.fromhex(dicom.associate_rq("HAPACS", "HAPROXY")))
    assert (pdu.called_ae_title, pdu.calling_ae_title) == ("HAPACS", "HAPROXY")
    assert [context.abstract_syntax for context in pdu.presentation_context] == ["1.2.840.10008.1.1"]


@pytest.mark.parametrize("title", ["", "   ", "SEVENTEEN LETTERS", "BACK\\SLASH", "TAB\t"])
def test_what_is_no_ae_title_is_refused(title: str) -> None:
    with pytest.raises(AnsibleFilterError, match="AE title"):
        dicom.associate_rq(title, "HAPROXY")


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
