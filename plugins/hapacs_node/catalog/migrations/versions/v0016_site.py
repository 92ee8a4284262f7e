"""What a site is to the other site of its deployment: whether it leads, its term, and what the other one said last."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    create table if not exists hapacs.site (
        single boolean primary key default true check (single),
        role text not null check (role in ('primary', 'dr')),
        state text not null check (state in ('leads', 'follows', 'fenced')),
        term bigint not null default 1 check (term >= 1),
        changed_at timestamptz not null default clock_timestamp(),
        changed_by text not null,
        reason text not null,
        due_at timestamptz not null default clock_timestamp(),
        asked_at timestamptz,
        heard_at timestamptz,
        other jsonb check ((heard_at is null) = (other is null))
    )
    """,
    "comment on table hapacs.site is 'Whether this site leads, and what the other one said last; no row without one'",
    "comment on column hapacs.site.term is 'Of two sites the one with the higher term leads'",
    "comment on column hapacs.site.due_at is 'When the other site is asked again'",
    "comment on column hapacs.site.asked_at is 'When the other site was asked last, with or without an answer'",
    "comment on column hapacs.site.heard_at is 'When the other site said something last'",
    "alter table hapacs.replication add column if not exists again boolean not null default false",
    "comment on column hapacs.replication.again is 'Whether confirmed images and copies are planned too'",
)


def upgrade() -> None:
    """Create the table; it can be repeated after an interruption."""
    for statement in _STATEMENTS:
        op.execute(statement)
