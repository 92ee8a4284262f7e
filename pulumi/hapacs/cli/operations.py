"""``hapacs drain | undrain | switchover | restart | renew | rotate``: the playbooks of the same names."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from hapacs.cli import completion, silencing
from hapacs.cli.output import Steps, console, print_json, print_warning
from hapacs.cli.parameters import Json, Name
from hapacs.deployment import Deployment

Node = Annotated[
    str, typer.Option(metavar="NODE", autocompletion=completion.node_names, help="Name of a node, see `hapacs status`.")
]
Site = Annotated[
    str, typer.Option(metavar="SITE", autocompletion=completion.site_names, help="Only this site. [default: all]")
]
Wait = Annotated[
    int | None, typer.Option("--wait", min=2, metavar="SECONDS", help="How long open associations may take to end.")
]


class What(StrEnum):
    """What can be switched over."""

    DATABASE = "database"
    STORING = "storing"
    ADDRESS = "address"


def drain(
    name: Name = "lab",
    *,
    node: Node,
    wait: Wait = None,
    cut: Annotated[bool, typer.Option("--cut", help="Cut associations that are still open after the wait.")] = False,
    json: Json = False,
) -> None:
    """Take a node out of service. Its stores, queries, virtual address and lead move to other nodes.

    Example: hapacs drain lab --node pacs2
    """
    _run("drain", name, {"node": node, "wait_s": wait, "cut": True if cut else None}, json=json)


def undrain(name: Name = "lab", *, node: Node, json: Json = False) -> None:
    """Take a drained node back into service.

    Example: hapacs undrain lab --node pacs2
    """
    _run("undrain", name, {"node": node}, json=json)


def switchover(
    what: Annotated[
        What,
        typer.Option(
            help="database: another node leads database and archive. storing: another node stores. "
            "address: another node holds the virtual address."
        ),
    ],
    name: Name = "lab",
    node: Annotated[
        str,
        typer.Option(
            metavar="NODE", autocompletion=completion.node_names, help="The new node. [default: the best candidate]"
        ),
    ] = "",
    site: Annotated[
        str,
        typer.Option(
            metavar="SITE", autocompletion=completion.site_names, help="The site, if there are several and no --node."
        ),
    ] = "",
    json: Json = False,
) -> None:
    """Move the lead of the database, the storing of images, or the virtual address to another node.

    Example: hapacs switchover lab --what database --node pacs3
    """
    _run("switchover", name, {"what": what.value, "node": node, "site": site}, json=json)


def restart(
    name: Name = "lab",
    service: Annotated[
        str,
        typer.Option(
            metavar="SERVICE", autocompletion=completion.service_names, help="systemd unit to restart, or `all`."
        ),
    ] = "all",
    site: Site = "",
    wait: Wait = None,
    json: Json = False,
) -> None:
    """Restart one service, or all, node after node. The leader comes last and hands over first.

    Example: hapacs restart lab --service patroni
    """
    _run("restart", name, {"service": service, "site": site, "wait_s": wait}, json=json)


def renew(
    name: Name = "lab",
    days: Annotated[int, typer.Option(min=1, help="Renew certificates that end within this number of days.")] = 30,
    site: Site = "",
    json: Json = False,
) -> None:
    """Renew certificates that end soon, and reload the services that use them, node after node."""
    _run("renew", name, {"days": days, "site": site}, json=json)


def rotate(
    kind: Annotated[
        str,
        typer.Option(
            metavar="KIND", autocompletion=completion.secret_kinds, help="Kind of secret (docs/operations/rotate.md)."
        ),
    ],
    name: Name = "lab",
    user: Annotated[str, typer.Option(help="With --kind dicomweb: the user who gets a new password.")] = "verify",
    json: Json = False,
) -> None:
    """Replace the secrets of a kind, and restart or reload the services that use them, node after node.

    Example: hapacs rotate lab --kind database
    """
    from hapacs import rotation  # noqa: PLC0415 - its clients are slow to import

    rotation.names(kind)
    _run("rotate", name, {"kind": kind, "user": user}, json=json)


def _run(verb: str, name: str, variables: dict[str, object], *, json: bool) -> None:
    """Run a playbook on a deployment that is up, with its progress, and print its result."""
    from hapacs import playbook  # noqa: PLC0415 - yaml is slow to import

    deployment = Deployment.load(name)
    deployment.require_up()
    given = {key: value for key, value in variables.items() if value not in {None, ""}}
    steps = Steps(quiet=json)
    unsilenced: list[str] = []

    def warn(reason: str) -> None:
        unsilenced.append(reason)
        print_warning(reason)

    with (
        deployment.alone(),
        silencing.silenced(deployment, verb, given, warn),
        steps.step(" ".join([verb, *map(str, given.values())])) as step,
    ):
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
                "recap": outcome.recap, "log": str(outcome.log), "seconds": steps.seconds, "not_silenced": unsilenced,
            }
        )  # fmt: skip
        return
    if said:
        console.print(said, markup=False)
    console.print(f"The whole log: {outcome.log}")
