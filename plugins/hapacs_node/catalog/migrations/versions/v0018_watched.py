"""When the other site's Watchdog came last: of two sites each one notices when the other's monitoring says nothing."""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_STATEMENTS = (
    # It counts from here, so that a Watchdog that never comes is noticed too.
    "alter table hapacs.site add column if not exists watched_at timestamptz not null default clock_timestamp()",
    "comment on column hapacs.site.watched_at is 'When the other site''s Watchdog came last, or was first expected'",
)


def upgrade() -> None:
    """Add the column; it can be repeated after an interruption."""
    for statement in _STATEMENTS:
        op.execute(statement)
