#!/usr/bin/python
"""Ansible module: databases with owners of the same name, on the leading member."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgres_databases
short_description: Create databases and their owners on the leader of a cluster
description:
  - Creates missing databases and roles, and sets passwords that do not work. Drops nothing.
options:
  hosts:
    description: Addresses of the cluster's members; the one that accepts writes is used.
    type: list
    elements: str
    required: true
  ca_file:
    description: Authority of the members' certificates, on this node.
    type: str
    required: true
  password:
    description: Password of the user postgres.
    type: str
    required: true
  databases:
    description: Databases, each with C(name) and C(password).
    type: list
    elements: dict
    required: true
  monitor:
    description: Role that reads statistics and logs in by its name as a user of the node; empty for none.
    type: str
    default: ""
author: hapacs
"""

EXAMPLES = r"""
- name: Create the database of the index
  postgres_databases:
    hosts: [192.0.2.11, 192.0.2.12]
    ca_file: /etc/patroni/tls/ca-postgres.crt
    password: "{{ superuser_password }}"
    databases: [{name: pacs, password: "{{ pacs_password }}"}]
"""

RETURN = r"""
made:
  description: Databases and roles that were created or changed.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    import psycopg2
    from psycopg2 import sql
    from psycopg2.extensions import encrypt_password
except ImportError:
    psycopg2 = None


def connect(module: AnsibleModule, user: str, password: str, database: str) -> psycopg2.extensions.connection:
    """Open a connection to the member that takes writes."""
    connection = psycopg2.connect(
        host=",".join(module.params["hosts"]),
        user=user,
        password=password,
        dbname=database,
        sslmode="verify-ca",
        sslrootcert=module.params["ca_file"],
        target_session_attrs="read-write",
        connect_timeout=5,
    )
    connection.autocommit = True
    return connection


def opens(module: AnsibleModule, name: str, password: str) -> bool:
    """Tell whether an owner's password opens its database."""
    try:
        connect(module, name, password, name).close()
    except psycopg2.OperationalError:
        return False
    return True


def make_monitor(module: AnsibleModule, cursor: psycopg2.extensions.cursor, roles: set[str]) -> list[str]:
    """Create the role that reads statistics; in one transaction, since one without its right would not get it later."""
    name = module.params["monitor"]
    if not name or name in roles:
        return []
    if not module.check_mode:
        steps = sql.SQL("create role {name} login; grant pg_monitor to {name}")
        cursor.execute(steps.format(name=sql.Identifier(name)))
    return [f"role {name}"]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "hosts": {"type": "list", "elements": "str", "required": True},
            "ca_file": {"type": "str", "required": True},
            "password": {"type": "str", "required": True, "no_log": True},
            "databases": {"type": "list", "elements": "dict", "required": True},
            "monitor": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    if psycopg2 is None:
        module.fail_json(msg=missing_required_lib("psycopg2"))
    made = []
    try:
        leader = connect(module, "postgres", module.params["password"], "postgres")
    except psycopg2.OperationalError as error:
        if module.check_mode:
            module.exit_json(changed=True, made=["the cluster is not there yet"])
        module.fail_json(
            msg=f"No member takes writes: {error}. See `patronictl -c /etc/patroni/hapacs.yml list` on a node."
        )
    with leader.cursor() as cursor:
        cursor.execute("select rolname from pg_roles")
        roles = {row[0] for row in cursor.fetchall()}
        cursor.execute("select datname from pg_database")
        present = {row[0] for row in cursor.fetchall()}
        for database in module.params["databases"]:
            name, password = database["name"], database["password"]
            # The server gets what it keeps, and never the password itself.
            verifier = encrypt_password(password, name, scope=leader, algorithm="scram-sha-256")
            steps = []
            if name not in roles:
                steps.append((f"role {name}", "create role {name} login password {password}"))
            if name not in present:
                steps.append((f"database {name}", "create database {name} owner {name}"))
                steps.append((f"privileges of {name}", "revoke all on database {name} from public"))
            if name in roles and name in present and not opens(module, name, password):
                steps.append((f"password of {name}", "alter role {name} password {password}"))
            for what, statement in steps:
                made.append(what)
                if not module.check_mode:
                    cursor.execute(sql.SQL(statement).format(name=sql.Identifier(name), password=sql.Literal(verifier)))
        made += make_monitor(module, cursor, roles)
    leader.close()
    module.exit_json(changed=bool(made), made=made)


if __name__ == "__main__":
    main()
