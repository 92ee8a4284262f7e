"""``hapacs plan``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from hapacs.cli.lifecycle import configure, initialise, opened, print_tasks, print_warnings
from hapacs.cli.output import Steps, console, errors, print_json
from hapacs.cli.parameters import Json, Name
from hapacs.errors import RefusedError

if TYPE_CHECKING:
    from hapacs.engine import Change
    from hapacs.playbook import Outcome


def plan(
    name: Name = "lab",
    json: Json = False,
    configuration: Annotated[
        bool, typer.Option("--configuration", help="Also ask each node what the roles would change there (minutes).")
    ] = False,
) -> None:
    """Show what `up` would make, change or remove, compared with what is really there. Nothing is changed."""
    from hapacs.engine import Engine  # noqa: PLC0415 - pulumi is slow to import

    deployment = opened(name)
    print_warnings(deployment)
    steps = Steps(quiet=True)
    outcome: Outcome | None = None
    with deployment.alone():
        with errors.status("Comparing with what is there"):
            initialise(deployment)
            changes = Engine(deployment).preview()
        if configuration:
            if not deployment.contract_file.exists():
                raise RefusedError(
                    f"{name} has no machines yet that could be asked.", f"`hapacs plan {name}` shows the machines."
                )
            from hapacs import wheelhouse  # noqa: PLC0415

            with steps.step("Configuration, as a check") as step:
                wheelhouse.ensure()
                outcome = configure(deployment, step, "--check")
    if json:
        document: dict[str, object] = {"deployment": name, "changes": [change.__dict__ for change in changes]}
        if outcome is not None:
            tasks = {task: sorted(hosts) for task, hosts in outcome.tasks.items()}
            document["configuration"] = {"changed": outcome.changed, "tasks": tasks}
        print_json(document)
        return
    if changes:
        console.print(_table(changes))
    else:
        console.print("[green]✓[/] Every machine is as the settings say.")
    if outcome is None:
        console.print(f"What the roles would change on the nodes: `hapacs plan {name} --configuration`.")
    elif outcome.changed:
        print_tasks(outcome, "would change")
        console.print(f"The whole check: {outcome.log}", soft_wrap=True, markup=False)
    else:
        console.print("[green]✓[/] Every node is configured as the roles say.")
    if changes or (outcome is not None and outcome.changed):
        console.print(f"Next: `hapacs up {name}`.")


def _table(changes: list[Change]) -> Table:
    table = Table("what", "kind", "name", "differs in", box=None, header_style="bold")
    colours = {"create": "green", "delete": "red"}
    for change in changes:
        colour = colours.get(change.operation, "yellow")
        table.add_row(f"[{colour}]{change.operation}[/]", change.kind, change.name, ", ".join(change.properties))
    return table
