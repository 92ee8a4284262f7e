"""When the copies of each shelf were read last, and archive copies that were found damaged."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# An earlier migration may have ended the transaction, so each statement can be repeated.
_STATEMENTS = (
    """
    create table if not exists hapacs.scrub (
        place text not null,
        shelf integer not null check (shelf between 0 and 65535),
        checked_at timestamptz,
        leased_until timestamptz,
        primary key (place, shelf)
    )
    """,
    "create index if not exists scrub_next on hapacs.scrub (place, checked_at nulls first)",
    """
    create table if not exists hapacs.damage (
        uuid uuid primary key references hapacs.object (uuid),
        found_at timestamptz not null default clock_timestamp(),
        found_by text not null
    )
    """,
    "comment on table hapacs.scrub is 'Shelves (the first two bytes of a digest) of a place, and when they were read'",
    "comment on table hapacs.damage is 'Images without a whole archive copy, until a node that has one repairs it'",
)


def upgrade() -> None:
    """Create the tables."""
    for statement in _STATEMENTS:
        op.execute(statement)
