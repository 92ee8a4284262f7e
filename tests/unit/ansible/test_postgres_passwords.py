"""Whether a password belongs to what PostgreSQL keeps."""

from __future__ import annotations

import pytest

from tests.unit.ansible.loading import load

module = load("modules/postgres_passwords")

# RFC 7677, section 3: user, password "pencil", salt and rounds; stored and server key follow from them.
VERIFIER = (
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ=="
    "$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)


def test_password_matches_its_own_verifier_only() -> None:
    assert module.fits(VERIFIER, "pencil")
    assert not module.fits(VERIFIER, "pencils")


@pytest.mark.parametrize(
    "verifier", ["", "md5d6a35858d61d85e4a82ab1fb044aba9d", "SCRAM-SHA-256$x", "A$1:AA==$AA==:AA=="]
)
def test_malformed_verifier_matches_no_password(verifier: str) -> None:
    assert not module.fits(verifier, "pencil")
