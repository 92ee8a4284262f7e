"""``hapacs drain | undrain | switchover | restart | renew | rotate``: the playbooks of the same names."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from hapacs.cli.output import Steps, console, print_json
from hapacs.cli.parameters import Json, Name
from hapacs.deployment import Deployment

Node = Annotated[str, typer.Option(metavar="NODE", help="Which node.")]
Wait = Annotated[int | None, typer.Option("--wait", min=2, help="Seconds that associations get to end.")]


class What(StrEnum):
    """What can be switched over."""

    DATABASE = "database"
    STORING = "storing"


def drain(
    name: Name = "lab",
    *,
    node: Node,
    wait: Wait = None,
    cut: Annotated[bool, typer.Option("--cut", help="Go on although associations have not ended.")] = False,
    json: Json = False,
) -> None:
    """Take a node out of service: stores, queries, virtual address and leads move to the others, and stay there."""
    _run("drain", name, {"node": node, "wait_s": wait, "cut": True if cut else None}, json=json)


def undrain(name: Name = "lab", *, node: Node, json: Json = False) -> None:
    """Take a drained node back into service."""
    _run("undrain", name, {"node": node}, json=json)


def switchover(
    what: Annotated[What, typer.Option(help="The database's leader (and the archive's), or the node that stores.")],
    name: Name = "lab",
    node: Node = "",
    site: Annotated[str, typer.Option(help="Which site, where there are several and no node is named.")] = "",
    json: Json = False,
) -> None:
    """Let another node lead the database, or store: the named one, else the fittest."""
    _run("switchover", name, {"what": what.value, "node": node, "site": site}, json=json)


def restart(
    name: Name = "lab",
    service: Annotated[str, typer.Option(help="One service, by its unit's name; else all of them.")] = "all",
    site: Annotated[str, typer.Option(help="One site; else all of them.")] = "",
    wait: Wait = None,
    json: Json = False,
) -> None:
    """Restart a service, or all, on one node after the other; who leads comes last and hands over first."""
    _run("restart", name, {"service": service, "site": site, "wait_s": wait}, json=json)


def renew(
    name: Name = "lab",
    days: Annotated[int, typer.Option(min=1, help="Renew what ends within so many days.")] = 30,
    site: Annotated[str, typer.Option(help="One site; else all of them.")] = "",
    json: Json = False,
) -> None:
    """Renew certificates that end soon, and let services take them up, one node after the other."""
    _run("renew", name, {"days": days, "site": site}, json=json)


def rotate(
    kind: Annotated[str, typer.Option(help="Kind of secret; see docs/operations/rotate.md.")],
    name: Name = "lab",
    user: Annotated[str, typer.Option(help="Whose password changes, for the kind dicomweb.")] = "verify",
    json: Json = False,
) -> None:
    """Make new secrets of a kind, and let everything take them up without stopping longer than for a restart."""
    from hapacs import rotation  # noqa: PLC0415 - its clients are slow to import

    rotation.names(kind)
    _run("rotate", name, {"kind": kind, "user": user}, json=json)


def _run(verb: str, name: str, variables: dict[str, object], *, json: bool) -> None:
    """Run a playbook on a deployment that is up, with its progress, and say what it said at its end."""
    from hapacs import playbook  # noqa: PLC0415 - the command line loads fast without it

    deployment = Deployment.load(name)
    deployment.require_up()
    given = {key: value for key, value in variables.items() if value not in {None, ""}}
    steps = Steps(quiet=json)
    with deployment.alone(), steps.step(" ".join([verb, *map(str, given.values())])) as step:
        outcome = playbook.run(
            verb,
            inventory=deployment.directory,
            logs=deployment.logs,
            variables=given,
            environment=deployment.environment(),
            on_task=step.now,
        )
    said = "\n".join(outcome.said)
    if json:
        print_json(
            {
                "deployment": name, "verb": verb, "given": given, "said": said, "changed": outcome.changed,
                "recap": outcome.recap, "log": str(outcome.log), "seconds": steps.seconds,
            }
        )  # fmt: skip
        return
    if said:
        console.print(said, markup=False, soft_wrap=True)
    console.print(f"The whole log: {outcome.log}", soft_wrap=True)
