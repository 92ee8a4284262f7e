"""The attachments by their archive object."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create an index in the order of the archive's own listing."""
    # An index that is made concurrently blocks no store. One that an interruption left behind is not valid.
    with op.get_context().autocommit_block():
        op.execute("drop index concurrently if exists hapacs.object_key")
        op.execute('create index concurrently object_key on hapacs.object (key collate "C")')
