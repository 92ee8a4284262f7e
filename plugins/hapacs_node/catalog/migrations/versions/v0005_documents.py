"""Metadata of images, as it is returned."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_STATEMENTS = (
    # Apart from the rows that searches read, which stay small.
    "create table if not exists hapacs.document (uuid uuid primary key, content bytea not null)",
    # It is compressed already.
    "alter table hapacs.document alter column content set storage external",
    "comment on column hapacs.document.content is 'Metadata in the DICOM JSON model, zlib (RFC 1950)'",
)


def upgrade() -> None:
    """Create the table. Images of an older program have no row until `hapacs reindex`."""
    for statement in _STATEMENTS:
        op.execute(statement)
