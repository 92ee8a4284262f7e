"""The catalog: attachments, outbox, heartbeats."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    create table hapacs.object (
        uuid uuid primary key,
        digest bytea not null check (octet_length(digest) = 32),
        size bigint not null check (size > 0),
        type integer not null check (type >= 0),
        store text not null check (store <> ''),
        key text not null check (key <> ''),
        "offset" bigint not null check ("offset" >= 0),
        length bigint not null check (length > 0),
        node text not null,
        stored_at timestamptz not null default clock_timestamp(),
        tombstoned_at timestamptz,
        tombstoned_by text,
        check ((tombstoned_at is null) = (tombstoned_by is null))
    )
    """,
    "create index object_digest on hapacs.object (digest)",
    "create index object_stored_at on hapacs.object (stored_at)",
    """
    create table hapacs.outbox (
        id bigint generated always as identity primary key,
        uuid uuid not null references hapacs.object (uuid),
        kind text not null check (kind in ('route', 'replicate')),
        created_at timestamptz not null default clock_timestamp(),
        unique (uuid, kind)
    )
    """,
    """
    create table hapacs.heartbeat (
        node text not null,
        service text not null,
        seen_at timestamptz not null,
        primary key (node, service)
    )
    """,
    "comment on table hapacs.object is 'One row per attachment of Orthanc: which bytes it is and where they lie'",
    "comment on column hapacs.object.tombstoned_at is 'Removed by Orthanc; the bytes remain until retention lets go'",
    "comment on table hapacs.outbox is 'What is to be done with an attachment, written as it is stored'",
)


def upgrade() -> None:
    """Create the tables."""
    for statement in _STATEMENTS:
        op.execute(statement)
