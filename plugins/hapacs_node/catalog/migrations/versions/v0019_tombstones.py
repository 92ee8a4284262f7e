"""Deletions are told to the other site: tasks of the kind ``tombstone``, for the same destination as copies."""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the destination where copies are on; it can be repeated after an interruption."""
    op.execute(
        "insert into hapacs.destination (kind, name) select 'tombstone', destination from hapacs.replication "
        "on conflict do nothing"
    )
