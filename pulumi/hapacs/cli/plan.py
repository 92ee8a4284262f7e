"""``hapacs plan``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hapacs import secrets
from hapacs.cli.changes import machines_document, print_changes, settings_document
from hapacs.cli.lifecycle import configure, opened, print_tasks, print_warnings
from hapacs.cli.output import Steps, console, errors, print_json, print_table
from hapacs.cli.parameters import Json, Name

if TYPE_CHECKING:
    from hapacs.changes import Changes
    from hapacs.deployment import Deployment
    from hapacs.playbook import Outcome


def plan(
    name: Name = "lab",
    json: Json = False,
    configuration: Annotated[
        bool, typer.Option("--configuration", help="Also check on each node what the roles would change (minutes).")
    ] = False,
) -> None:
    """Show what `up` would change: machines and settings. Nothing is changed."""
    from hapacs.engine import Engine  # noqa: PLC0415 - pulumi is slow to import

    deployment = opened(name)
    print_warnings(deployment)
    outcome: Outcome | None = None
    with deployment.alone():
        with errors.status("Comparing with what is there"):
            new_secrets = secrets.missing(deployment)
            found = Engine(deployment).preview()
        if configuration:
            outcome = _check(deployment, found)
    if json:
        print_json(_document(name, found, new_secrets, outcome))
        return
    _print_found(found, unfinished=deployment.unfinished_file.exists())
    if new_secrets:
        print_table("Secrets that are made", (), [(secret,) for secret in new_secrets])
    if configuration:
        _print_configuration(found, outcome)
    else:
        console.print(f"What the roles would change on the nodes: `hapacs plan {name} --configuration`.")
    if found.machines or found.settings or new_secrets or (outcome is not None and outcome.changed):
        console.print(f"Next: `hapacs up {name}`.")


def _print_found(found: Changes, *, unfinished: bool) -> None:
    print_changes(found)
    if not found.machines:
        console.print("[green]✓[/] Every machine is as the settings say.")
    if found.settings is None:
        console.print("No node is configured yet: `hapacs up` configures all of them.")
    elif unfinished:
        console.print("The last `hapacs up` did not end well: nodes may have only a part of its settings.")
    elif not found.settings:
        console.print("[green]✓[/] The settings are those of the last `hapacs up`.")


def _check(deployment: Deployment, found: Changes) -> Outcome | None:
    """Run the roles as a check, with the settings as they are now, on the nodes that are there."""
    from hapacs import backport, wheelhouse  # noqa: PLC0415 - only when it is asked for

    waiting = found.unreachable
    if len(waiting) == sum(len(site["nodes"]) for site in found.contract["sites"].values()):
        return None
    with Steps(quiet=True).step("Configuration, as a check") as step:
        wheelhouse.ensure()
        if backport.wanted(deployment.settings):
            backport.ensure(step.now)
        limit = ("--limit", ",".join(["all", *(f"!{node}" for node in waiting)])) if waiting else ()
        return configure(deployment, step, "--check", *limit, contract=deployment.planned_contract_file)


def _document(name: str, found: Changes, new_secrets: Sequence[str], outcome: Outcome | None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "deployment": name,
        "changes": machines_document(found),
        "settings": settings_document(found),
        "secrets": list(new_secrets),
        "data": list(found.consequences),
    }
    if outcome is not None:
        tasks = {task: sorted(hosts) for task, hosts in outcome.tasks.items()}
        document["configuration"] = {"changed": outcome.changed, "tasks": tasks, "not_asked": found.unreachable}
    return document


def _print_configuration(found: Changes, outcome: Outcome | None) -> None:
    if found.unreachable:
        console.print(
            f"Not asked, because `hapacs up` makes or changes the machine first: {', '.join(found.unreachable)}.",
            soft_wrap=True,
        )
    if outcome is None:
        return
    if outcome.changed:
        print_tasks(outcome, "would change")
    else:
        console.print("[green]✓[/] Every node that was asked is configured as the roles say.")
    console.print(f"Log of the check: {outcome.log}", soft_wrap=True, markup=False)
