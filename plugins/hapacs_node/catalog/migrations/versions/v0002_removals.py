"""Who stored an attachment, and what was removed by whom."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# The index below ends the transaction, so each statement can be repeated after an interruption.
_STATEMENTS = (
    "alter table hapacs.object add column if not exists caller text",
    "comment on column hapacs.object.caller is 'The caller: title:... or user:...; null if unknown'",
    """
    create table if not exists hapacs.removal (
        uuid uuid primary key references hapacs.object (uuid),
        reason text not null check (reason in ('removed', 'replaced', 'resent', 'refused', 'unknown')),
        caller text,
        study text,
        series text,
        sop text
    )
    """,
    "create index if not exists removal_study on hapacs.removal (study)",
    "comment on table hapacs.removal is 'Why and for whom a DICOM file was tombstoned, and its UIDs'",
)


def upgrade() -> None:
    """Create the table, and an index on the tombstones that exist."""
    for statement in _STATEMENTS:
        op.execute(statement)
    # An index that is made concurrently blocks no store. One that an interruption left behind is not valid.
    with op.get_context().autocommit_block():
        op.execute("drop index concurrently if exists hapacs.object_tombstoned")
        op.execute(
            "create index concurrently object_tombstoned on hapacs.object (tombstoned_at) "
            "where tombstoned_at is not null"
        )
