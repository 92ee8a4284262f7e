"""``hapacs init | up``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hapacs import authorities, secrets, ssh
from hapacs.cli.changes import machines_document, print_changes, settings_document
from hapacs.cli.output import Step, Steps, console, duration, print_json, print_warning
from hapacs.cli.parameters import Json, Name
from hapacs.deployment import Deployment
from hapacs.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from hapacs.changes import Change, Changes
    from hapacs.playbook import Outcome
    from hapacs.verify import Report

_TASKS_SHOWN = 15


def init(name: Name = "lab", json: Json = False) -> None:
    """Make the keys and encrypted secrets of a deployment. Existing ones are kept."""
    deployment = opened(name)
    print_warnings(deployment)
    with deployment.alone():
        made, back = initialise(deployment)
    if json:
        key = str(deployment.age_key)
        print_json({"deployment": name, "secrets_made": made, "authorities_back": back, "age_key": key})
        return
    if back:
        console.print(f"[green]✓[/] {len(back)} authorities are back from {deployment.authorities_file}")
    if made:
        console.print(f"[green]✓[/] {len(made)} secrets made in {deployment.secrets_file}")
    else:
        console.print("[green]✓[/] Everything was there already.")
    if not deployment.settings.target.expendable:
        console.print(
            f"The key that opens them is {deployment.age_key}. Keep a copy of it off-line: without it they are lost.\n"
            "Commit the encrypted file; it belongs to the deployment.\n"
            f"The machines must let in {deployment.ssh_key}.pub, with sudo and no password.\n"
            f"Their host keys belong into {deployment.known_hosts}: compare the fingerprints, nobody else does."
        )
    console.print(f"Next: `hapacs plan {name}`, then `hapacs up {name}`.")


def up(name: Name = "lab", json: Json = False) -> None:
    """Bring a deployment up, or change it to what its settings say, then verify it. Can be run again at any time."""
    deployment = opened(name)
    print_warnings(deployment)
    steps = Steps(quiet=json)
    with deployment.alone():
        found, outcome = _bring_up(deployment, steps)
        if not json:
            print_changes(found)
            _print_recap(outcome)
        with steps.step("Verification") as step:
            from hapacs import verify  # noqa: PLC0415

            report = verify.run(deployment, on_check=lambda check: step.now(check.name))
    if json:
        print_json(
            {
                "deployment": name,
                "seconds": steps.seconds,
                "machines": machines_document(found),
                "settings": settings_document(found),
                "changed": outcome.changed,
                "recap": outcome.recap,
                **report.document(),
            }
        )
    else:
        _print_summary(deployment, report, sum(steps.seconds.values()))
    if not report.ok:
        raise typer.Exit(ExitCode.UNHEALTHY)


def _bring_up(deployment: Deployment, steps: Steps) -> tuple[Changes, Outcome]:
    """Make machines and configuration what the settings say."""
    from hapacs import backport, status_page, targets, viewer, wheelhouse  # noqa: PLC0415 - pulumi and yaml are slow to import
    from hapacs.engine import Engine  # noqa: PLC0415

    with steps.step("Secrets"):
        initialise(deployment)
    with steps.step("Packages for the nodes") as step:
        wheelhouse.ensure()
        wheelhouse.node_wheel()
        viewer.ensure()
        status_page.ensure()
        if backport.wanted(deployment.settings):
            backport.ensure(step.now)
    if deployment.settings.target.makes_machines:
        with steps.step("Golden image") as step:
            targets.create(deployment.settings, deployment.state).prepare(step.now)
    with steps.step("Machines") as step:
        found = Engine(deployment, on_change=follow(step)).up()
    with steps.step("Configuration") as step:
        outcome = configure(deployment, step)
    authorities.keep(deployment)
    deployment.unfinished_file.unlink(missing_ok=True)
    return found, outcome


def configure(deployment: Deployment, step: Step, *options: str, contract: Path | None = None) -> Outcome:
    """Run the roles on the nodes, of another contract than that of the last `up` if one is given."""
    from hapacs import image, playbook  # noqa: PLC0415 - yaml is slow to import

    return playbook.run(
        "site",
        inventory=deployment.directory,
        logs=deployment.logs,
        variables={"hapacs_image_id": image.identifier(), **image.package_variables()},
        environment=deployment.environment() | ({} if contract is None else {"HAPACS_CONTRACT": str(contract)}),
        on_task=step.now,
        options=options,
    )


def opened(name: str) -> Deployment:
    """Find a deployment, with settings that were checked."""
    deployment = Deployment.load(name)
    _ = deployment.settings
    return deployment


def print_warnings(deployment: Deployment) -> None:
    """Print which settings are allowed and seldom meant."""
    from hapacs import settings  # noqa: PLC0415 - pydantic is slow to import

    for warning in settings.warnings(deployment.settings):
        print_warning(str(warning))


def initialise(deployment: Deployment) -> tuple[list[str], list[str]]:
    """Make keys and secrets that are missing, and take back authorities that the tree has and the controller has not.

    Returns
    -------
    tuple
        Names of the secrets that were made, and of the authorities that are back.
    """
    ssh.make_key(deployment.ssh_key, f"hapacs-{deployment.name}")
    # A stock Pulumi doesn't make the directory of its backend.
    deployment.backend.mkdir(mode=0o700, parents=True, exist_ok=True)
    return secrets.ensure(deployment), authorities.bring_back(deployment)


def follow(step: Step) -> Callable[[Change], None]:
    """Return a function that shows each change of a machine as what is done now."""
    return lambda change: step.now(f"{change.operation} {change.kind} {change.name}")


def _print_recap(outcome: Outcome) -> None:
    width = max((len(host) for host in outcome.recap), default=0)
    for host, counts in outcome.recap.items():
        counted = " ".join(f"{key}={count}" for key, count in counts.items())
        console.print(f"    {host:{width}} : {counted}")
    # A first run changes everything; of a later one each change is worth a line.
    if len(outcome.tasks) <= _TASKS_SHOWN:
        print_tasks(outcome, "changed")
    console.print(f"    changed={outcome.changed} in all; the whole log: {outcome.log}")


def print_tasks(outcome: Outcome, verb: str) -> None:
    """Print each changed task with its hosts."""
    for task, hosts in outcome.tasks.items():
        console.print(f"    {verb}: {task} ({', '.join(sorted(hosts))})", markup=False)


def _print_summary(deployment: Deployment, report: Report, seconds: float) -> None:
    failed = [check for check in report.checks if not check.ok]
    for check in failed:
        console.print(f"  [red]✗[/] {check.name}: {check.detail}")
    passed = len(report.checks) - len(failed)
    if failed:
        console.print(
            f"[red]{len(failed)} of {len(report.checks)} checks failed.[/] Again: `hapacs verify {deployment.name}`."
        )
        return
    console.print(f"[green]{deployment.name} is up and verified[/]: {passed} checks passed, {duration(seconds)}.")
    for name, site in deployment.settings.sites.items():
        address, dicom = site.vip.address, site.dicom
        console.print(
            f"  {name}: DICOM {dicom.store_ae} (store) and {dicom.query_ae} (query) at {address}:{dicom.port}, "
            f"TLS {dicom.tls_port}; DICOMweb https://{address}:{site.https_port}/dicom-web",
        )
    console.print(f"Next: `hapacs status {deployment.name}`, `hapacs verify {deployment.name}`.")
