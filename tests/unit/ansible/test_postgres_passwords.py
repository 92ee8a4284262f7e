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


def test_a_password_fits_its_verifier_and_no_other() -> None:
    assert module.fits(VERIFIER, "pencil")
    assert not module.fits(VERIFIER, "pencils")


@pytest.mark.parametrize(
    "verifier", ["", "md5d6a35858d61d85e4a82ab1fb044aba9d", "SCRAM-SHA-256$x", "A$1:AA==$AA==:AA=="]
)
def test_what_is_no_such_verifier_fits_nothing(verifier: str) -> None:
    assert not module.fits(verifier, "pencil")
