"""When this site was compared with the second one, and what was found."""

from alembic import op

revision = "0017"
down_revision = "0015"
branch_labels = None
depends_on = None

# An earlier migration may have ended the transaction, so each statement can be repeated.
_STATEMENTS = (
    """
    create table if not exists hapacs.comparison (
        destination text primary key,
        began_at timestamptz not null,
        ended_at timestamptz,
        compared bigint not null default 0,
        counts jsonb not null default '{}',
        locks_from text not null default ''
    )
    """,
    "comment on table hapacs.comparison is 'When the images of both sites were compared last, and what differed'",
    "comment on column hapacs.comparison.ended_at is 'When the last one ended that looked at all images'",
    "comment on column hapacs.comparison.locks_from is 'The SOP Instance UID with which the next one reads locks'",
)


def upgrade() -> None:
    """Create the table; it can be repeated after an interruption."""
    for statement in _STATEMENTS:
        op.execute(statement)
