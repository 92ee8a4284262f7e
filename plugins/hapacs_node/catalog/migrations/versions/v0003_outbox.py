"""The outbox: events of stored images, tasks for their destinations, and the rules.

The table `outbox` of version 1 had two rows for each image, without a destination, and nothing read them. They are
dropped, so that no image from before the first rule is ever sent. Nodes that still run the former program write to that
table: a trigger discards their rows. The table itself can be dropped by a later version.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    create function hapacs.discard() returns trigger language plpgsql as
    $$ begin return null; end $$
    """,
    "create trigger discard before insert on hapacs.outbox for each row execute function hapacs.discard()",
    "truncate hapacs.outbox",
    "comment on table hapacs.outbox is 'Not used: kept empty for nodes that run the program of version 2'",
    """
    create table hapacs.ruleset (
        single boolean primary key default true check (single),
        version bigint not null,
        document jsonb not null,
        active boolean not null,
        loaded_at timestamptz not null default clock_timestamp(),
        loaded_by text not null
    )
    """,
    """
    create table hapacs.event (
        uuid uuid primary key references hapacs.object (uuid),
        node text not null,
        created_at timestamptz not null default clock_timestamp(),
        due_at timestamptz not null default clock_timestamp(),
        attempts integer not null default 0
    )
    """,
    "create index event_due on hapacs.event (due_at)",
    """
    create table hapacs.task (
        id bigint generated always as identity primary key,
        kind text not null,
        destination text not null,
        uuid uuid not null references hapacs.object (uuid),
        study text not null,
        series text not null,
        sop text not null,
        sop_class text not null,
        transfer_syntax text not null,
        size bigint not null,
        node text not null,
        rule text not null,
        change jsonb,
        priority smallint not null check (priority between 0 and 2),
        state text not null default 'waiting'
            check (state in ('waiting', 'held', 'in flight', 'confirmed', 'dead', 'dropped')),
        reason text not null default '',
        attempts integer not null default 0,
        created_at timestamptz not null default clock_timestamp(),
        due_at timestamptz not null default clock_timestamp(),
        holder text,
        leased_until timestamptz,
        ended_at timestamptz,
        check ((state = 'in flight') = (holder is not null)),
        check ((holder is null) = (leased_until is null)),
        unique (uuid, kind, destination)
    )
    """,
    "create index task_waiting on hapacs.task (kind, destination, priority, due_at) where state = 'waiting'",
    "create index task_leased on hapacs.task (kind, destination, leased_until) where state = 'in flight'",
    "create index task_study on hapacs.task (study)",
    "create index task_stopped on hapacs.task (kind, destination, id) where state in ('held', 'dead')",
    """
    create table hapacs.destination (
        kind text not null,
        name text not null,
        failures integer not null default 0,
        retry_at timestamptz,
        error text not null default '',
        held boolean not null default false,
        confirmed bigint not null default 0,
        confirmed_bytes bigint not null default 0,
        confirmed_at timestamptz,
        primary key (kind, name)
    )
    """,
    """
    create table hapacs.unmatched (
        day date primary key,
        images bigint not null
    )
    """,
    "comment on table hapacs.event is 'Stored images that the planner has not compared with the rules yet'",
    "comment on table hapacs.task is 'One image for one destination, and what became of it'",
    "comment on table hapacs.destination is 'Failures of a destination, and when it is tried again'",
    "comment on table hapacs.unmatched is 'Images that no rule matched, by day'",
)


def upgrade() -> None:
    """Create the tables, and empty the former outbox."""
    for statement in _STATEMENTS:
        op.execute(statement)
