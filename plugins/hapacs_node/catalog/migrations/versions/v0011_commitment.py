"""Requests for storage commitment, and their images."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    create table if not exists hapacs.commitment (
        id bigint generated always as identity primary key,
        caller text not null,
        called text not null,
        transaction text not null,
        state text not null default 'checking' check (state in ('checking', 'reporting', 'reported', 'undelivered')),
        requested_at timestamptz not null default clock_timestamp(),
        checked_at timestamptz,
        ended_at timestamptz,
        due_at timestamptz not null default clock_timestamp(),
        attempts integer not null default 0,
        error text not null default '',
        holder text,
        leased_until timestamptz,
        check ((holder is null) = (leased_until is null)),
        unique (caller, transaction)
    )
    """,
    """
    create index if not exists commitment_due on hapacs.commitment (due_at)
    where state in ('checking', 'reporting')
    """,
    """
    create table if not exists hapacs.committed (
        commitment bigint not null references hapacs.commitment (id) on delete cascade,
        number integer not null,
        sop_class text not null,
        sop text not null,
        failure integer,
        problem text not null default '',
        primary key (commitment, number)
    )
    """,
    "create index if not exists committed_sop on hapacs.committed (sop)",
    "comment on table hapacs.commitment is 'Requests for storage commitment, and what became of them'",
    "comment on table hapacs.committed is 'The images of requests for storage commitment'",
    "comment on column hapacs.committed.failure is '0: committed; else a reason (PS3.3 C.14.1.1); null: not known'",
)


def upgrade() -> None:
    """Create the tables; it can be repeated after an interruption."""
    for statement in _STATEMENTS:
        op.execute(statement)
