#!/usr/bin/python
"""Ansible module: passwords of existing roles, set on the leading server through its socket."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgres_passwords
short_description: Set passwords of PostgreSQL roles
description:
  - Compares each password with the verifier that the server keeps (SCRAM-SHA-256), and sets those that differ. Runs
    as the user C(postgres) on the leading member, without a password. The server gets a verifier, never a
    password.
options:
  roles:
    description: Passwords by role name.
    type: dict
    required: true
  socket_directory:
    description: Directory of the server's socket.
    type: path
    default: /run/postgresql
author: hapacs
"""

EXAMPLES = r"""
- name: Set database passwords
  postgres_passwords:
    roles: {pacs: "{{ pacs_password }}"}
  become: true
  become_user: postgres
"""

RETURN = r"""
set:
  description: Roles whose password was set.
  returned: always
  type: list
  elements: str
"""

import base64
import hashlib
import hmac

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    import psycopg2
    from psycopg2 import sql
    from psycopg2.extensions import encrypt_password
except ImportError:
    psycopg2 = None


def fits(verifier: str, password: str) -> bool:
    """Return whether a password matches the server's verifier, ``SCRAM-SHA-256$<rounds>:<salt>$<stored>:<server>``.

    The form is that of RFC 5803. Passwords are ASCII, which SASLprep leaves as it is.
    """
    try:
        kind, parameters, keys = verifier.split("$")
        rounds, salt = parameters.split(":")
        stored = base64.b64decode(keys.split(":")[0])
    except ValueError:
        return False
    if kind != "SCRAM-SHA-256":
        return False
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(rounds))
    client_key = hmac.new(salted, b"Client Key", hashlib.sha256).digest()
    return hmac.compare_digest(hashlib.sha256(client_key).digest(), stored)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "roles": {"type": "dict", "required": True, "no_log": True},
            "socket_directory": {"type": "path", "default": "/run/postgresql"},
        },
        supports_check_mode=True,
    )
    if psycopg2 is None:
        module.fail_json(msg=missing_required_lib("psycopg2"))
    wanted = module.params["roles"]
    try:
        server = psycopg2.connect(host=module.params["socket_directory"], user="postgres", dbname="postgres")
    except psycopg2.OperationalError as error:
        module.fail_json(
            msg=f"PostgreSQL does not answer here: {error}. `journalctl -u patroni` on this node says more."
        )
    server.autocommit = True
    with server.cursor() as cursor:
        cursor.execute("select pg_is_in_recovery()")
        if cursor.fetchone()[0]:
            module.fail_json(msg="This member does not lead any more: run the playbook again.")
        cursor.execute(
            "select rolname, coalesce(rolpassword, '') from pg_authid where rolname = any(%s)", [list(wanted)]
        )
        present = dict(cursor.fetchall())
        if missing := sorted(set(wanted) - set(present)):
            module.fail_json(msg=f"There is no role {', '.join(missing)}: run `hapacs up` first.")
        changed = [name for name in wanted if not fits(present[name], wanted[name])]
        for name in changed if not module.check_mode else []:
            verifier = encrypt_password(wanted[name], name, scope=server, algorithm="scram-sha-256")
            statement = sql.SQL("alter role {name} password {password}")
            cursor.execute(statement.format(name=sql.Identifier(name), password=sql.Literal(verifier)))
    server.close()
    module.exit_json(changed=bool(changed), set=changed)


if __name__ == "__main__":
    main()
