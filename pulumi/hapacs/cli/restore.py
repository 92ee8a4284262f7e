"""``hapacs restore``: the site's database from its backups, in place or as a rehearsal."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hapacs.cli import backup
from hapacs.cli.output import Steps, console, errors, print_json, print_warning
from hapacs.cli.parameters import Json, Name
from hapacs.deployment import Deployment
from hapacs.errors import HapacsError, RefusedError, UsageError

if TYPE_CHECKING:
    from hapacs.site.backup import Keeper
    from hapacs.site.restore import Loss

Archive = Annotated[
    Literal["current", "restored"],
    typer.Option(
        help="`current`: the archive's metadata are not restored, so it still finds what was stored since. "
        "`restored`: they are damaged, and are restored too."
    ),
]


def restore(  # noqa: PLR0917 - typer calls it
    name: Name,
    to_time: Annotated[str, typer.Option(metavar="TIME", help="As of this time, such as 2026-11-30T08:15:00Z.")] = "",
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Into a scratch cluster beside the site, which is removed.")
    ] = False,
    archive: Archive = "current",
    site: backup.SiteName = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; for scripts.")] = False,
    confirm: Annotated[str, typer.Option(help="The site's name, in place of typing it when asked.")] = "",
    json: Json = False,
) -> None:
    """Restore the whole database cluster of a site, in place. With --rehearse: beside it, and compare the rows.

    The site stores and answers nothing until it is done. Images that were stored after TIME stay in the archive:
    `hapacs rebuild --from-archive` finds them again.

    Exit code 1: rows are missing in the rehearsal, or a step failed. Run the same command again: it goes on.
    """
    if rehearse and (to_time or yes or confirm or archive != "current"):
        raise UsageError("A rehearsal restores the newest WAL and changes nothing.", "Give --rehearse alone.")
    if rehearse:
        backup.rehearse(name, site, json=json)
    else:
        _in_place(name, site, to_time, archive, confirmed=yes, word=confirm, json=json)


def _in_place(name: str, site: str, to_time: str, archive: str, *, confirmed: bool, word: str, json: bool) -> None:
    from hapacs import playbook  # noqa: PLC0415 - yaml is slow to import
    from hapacs.site import backup as backups  # noqa: PLC0415 - its clients are slow to import
    from hapacs.site import restore as restores  # noqa: PLC0415

    target = restores.parsed(to_time, datetime.now(UTC)) if to_time else None
    deployment = Deployment.load(name)
    deployment.require_up()
    keeper = backup.keeper_of(name, site)
    steps = Steps(quiet=json)
    with deployment.alone():
        with errors.status("Asking for backups and for what would be lost"):
            lost = restores.loss(keeper, target)
        if not confirmed:
            _require_confirmation(keeper, target, lost, archive, word)
        given = {"site": keeper.site.name, "archive": archive}
        if target is not None:
            given["to_time"] = restores.sql_time(target)
        with steps.step(f"Restoring the database of {keeper.site.name}") as step:
            outcome = playbook.run(
                "restore", inventory=deployment.directory, logs=deployment.logs, variables=given,
                environment=deployment.environment(), on_task=step.now,
            )  # fmt: skip
        made = None
        try:
            with steps.step(f"Backing it up to {keeper.node.name}") as step:
                made = backups.now(keeper, "diff")
        except HapacsError as error:
            print_warning(f"{error.message} Make one soon: `hapacs backup now {name} --site {keeper.site.name}`.")
    said = "\n".join(outcome.said)
    if json:
        print_json({
            "deployment": name, "site": keeper.site.name, "to_time": given.get("to_time"), "archive": archive,
            "lost": {"stored": lost.stored, "removed": lost.removed}, "said": said, "backup": made,
            "log": str(outcome.log), "seconds": steps.seconds,
        })  # fmt: skip
        return
    console.print(said, markup=False)
    at = f"--site {keeper.site.name}"
    console.print(f"Next: `hapacs rebuild {name} --from-archive {at}` finds images again that were stored since,")
    console.print(f"then `hapacs reconcile {name} {at}` and `hapacs verify {name}`.\nThe whole log: {outcome.log}")


def _require_confirmation(keeper: Keeper, target: datetime | None, lost: Loss, archive: str, given: str) -> None:
    """Refuse unless the site's name was given or is typed now."""
    name = keeper.site.name
    if not given:
        errors.print(_consequence(name, target, lost, archive), markup=False)
        if not sys.stdin.isatty():
            raise RefusedError(
                "A restore needs a confirmation, and there is no terminal to ask at. Nothing was done.",
                f"In a script: `--confirm {name}`.",
            )
        given = typer.prompt("Type the site's name to go on", default="", show_default=False, err=True)
    if given != name:
        raise RefusedError(f"{given!r} is not {name!r}. Nothing was done.", "The same command asks again.")


def _consequence(name: str, target: datetime | None, lost: Loss, archive: str) -> str:
    """Return what a restore does."""
    when = "the newest archived WAL" if target is None else f"{target:%Y-%m-%d %H:%M:%S} UTC"
    answers = "It ANSWERS now." if lost.answers else "It does not answer now."
    counts = ("an unknown number of" if count is None else f"{count:,}" for count in (lost.stored, lost.removed))
    stored, removed = counts
    back = (
        "they are in the archive, and `hapacs rebuild --from-archive` finds them again afterwards"
        if archive == "current" and lost.answers
        else "the archive forgets them: online copies and the second site have them"
    )
    return (
        f"This puts index, catalog and queues of {name} back to {when}. {answers}\n"
        f"- {stored} images were stored since: {back}.\n"
        f"- {removed} images were deleted or replaced since: they come back.\n"
        "- Corrections, labels and changed queues since are lost; images that were sent since may be sent again.\n"
        f"{name} stores and answers nothing meanwhile. The former data are kept on the nodes."
    )
