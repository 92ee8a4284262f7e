"""Requests for storage commitment that destinations got, with their tasks; priors that were looked for."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# An earlier migration may have ended the transaction, so each statement can be repeated.
_STATEMENTS = (
    """
    create table if not exists hapacs.outbound_commitment (
        transaction text primary key,
        kind text not null,
        destination text not null,
        peer text not null,
        node text not null,
        requested_at timestamptz not null default clock_timestamp(),
        reported_at timestamptz,
        committed integer,
        failed integer
    )
    """,
    """
    create table if not exists hapacs.outbound_committed (
        transaction text not null references hapacs.outbound_commitment (transaction) on delete cascade,
        task bigint not null,
        primary key (transaction, task)
    )
    """,
    "create index if not exists outbound_committed_task on hapacs.outbound_committed (task)",
    """
    create table if not exists hapacs.prefetch (
        id bigint generated always as identity primary key,
        study text not null,
        rule text not null,
        images uuid[] not null,
        planned_at timestamptz not null default clock_timestamp(),
        unique (study, rule)
    )
    """,
    "create index if not exists prefetch_planned on hapacs.prefetch (planned_at)",
    "comment on table hapacs.prefetch is 'Images of priors that were wanted when a study came'",
    "comment on table hapacs.outbound_commitment is 'Requests for storage commitment that destinations got'",
    "comment on table hapacs.outbound_committed is 'The tasks of requests that destinations got'",
    "comment on column hapacs.outbound_commitment.peer is 'AE title that may report it'",
)


def upgrade() -> None:
    """Create the tables; it can be repeated after an interruption."""
    for statement in _STATEMENTS:
        op.execute(statement)
