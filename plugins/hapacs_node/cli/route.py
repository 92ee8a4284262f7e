"""`hapacs-node route` and `hapacs-node outbox`: the rules, the service, and what waits for each destination."""

import json
import logging
import signal
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import ValidationError
from rich.table import Table

from hapacs_node import log, settings
from hapacs_node.catalog import gathering, outbox, replication, ruleset, site, tombstones
from hapacs_node.catalog.outbox import Action, Selection
from hapacs_node.catalog.tasks import Lane
from hapacs_node.cli.common import SELF, ConfigOption, JsonOption, err, errors, of_catalog, out, print_json, to_journal
from hapacs_node.errors import ConfigurationError
from hapacs_node.metrics import Metrics
from hapacs_node.probe.image import ProbeImage
from hapacs_node.query import header
from hapacs_node.replication.model import Outgoing
from hapacs_node.routing.bucket import trust_only
from hapacs_node.routing.checks import mistakes
from hapacs_node.routing.model import KIND
from hapacs_node.routing.peer import Access, Identity
from hapacs_node.routing.replay import Replay
from hapacs_node.routing.service import Service, reader_of
from hapacs_node.routing.session import ping as ask
from hapacs_node.routing.session import send_image

route_app = typer.Typer(no_args_is_help=True, help="The rules of the site, and the service that routes by them.")
outbox_app = typer.Typer(no_args_is_help=True, help="Images that wait for their destination, and interventions.")

_WAIT_S = 10

Destination = Annotated[str | None, typer.Option(help="Name of the destination.")]
Study = Annotated[str | None, typer.Option(help="Study Instance UID.")]
Number = Annotated[int | None, typer.Option("--task", help="Number of one task.")]
State = Literal["gathering", "waiting", "held", "in flight", "dead", "confirmed", "dropped"]
Reason = Annotated[str, typer.Option(help="Why; it is kept with the intervention.")]
Operator = Annotated[str, typer.Option(help="Who; it is kept with the intervention.")]
Certificate = Annotated[Path, typer.Option(help="Certificate of this node, PEM.")]
Key = Annotated[Path, typer.Option(help="Its key, PEM.")]
Authority = Annotated[Path, typer.Option(help="Certificate of the site's authority, PEM.")]
Secrets = Annotated[Path, typer.Option(help="Passwords and tokens of destinations, JSON.")]
_TLS = Path("/etc/hapacs-routing/tls")
_SECRETS = Path("/etc/hapacs-routing/secrets.json")


@route_app.command()
def load(
    rules: Annotated[Path, typer.Argument(help="The rules, as JSON.", exists=True, dir_okay=False)],
    config: ConfigOption = settings.DEFAULT_PATH,
    operator: Operator = SELF,
) -> None:
    """Check rules, and make them those of the site (`hapacs up` does it). Bad rules change nothing."""
    with errors(), of_catalog(config, "route") as database:
        routing = _checked(rules)
        lanes = [Lane(KIND, name) for name in routing.destinations]
        copies = routing.second_site is not None
        known = [*lanes, replication.LANE, tombstones.LANE] if copies else lanes
        document = routing.model_dump(mode="json", exclude_defaults=True)
        active = bool(routing.rules or routing.prefetch or copies)
        changed = database.run(
            lambda c: ruleset.load(c, document, known, active=active, by=operator),
            deadline_s=_WAIT_S,
        )
        # After the rules: the past begins when every new image has an event.
        database.run(lambda c: replication.switch(c, on=copies), deadline_s=_WAIT_S)
        role = None if routing.second_site is None else routing.second_site.role
        database.run(lambda c: site.switch(c, role, operator), deadline_s=_WAIT_S)
    out.print(f"{'changed' if changed else 'unchanged'}: {len(routing.rules)} rules, {len(lanes)} destinations")


@route_app.command()
def run(
    *,
    metrics_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the metrics, on 127.0.0.1.")],
    certificate: Certificate,
    key: Key,
    authority: Authority,
    secrets: Secrets = _SECRETS,
    copying: Annotated[
        Path | None, typer.Option(help="Folder of replica.crt, replica.key and ca-replica.crt for the second site.")
    ] = None,
    config: ConfigOption = settings.DEFAULT_PATH,
) -> None:
    """Run the service: plan and send until a signal ends it."""
    to_journal(logging.getLogger(log.ROOT))
    with errors():
        trust_only(authority)
        access = Access(Identity(certificate, key, authority), secrets)
        service = Service.build(settings.load(config), access, None if copying is None else _copying(copying))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop.set())
    service.run(metrics_port)


@route_app.command()
def status(config: ConfigOption = settings.DEFAULT_PATH, as_json: JsonOption = False) -> None:
    """Show what waits for each destination, failures and confirmations. Exit code 1: a task is dead."""
    with errors(), of_catalog(config, "route") as database:
        found = database.run(lambda c: outbox.status(c, KIND))
        version = database.run(ruleset.version)
        unplanned, unmatched = database.run(outbox.unplanned), database.run(outbox.unmatched_today)
    ok = not any(one.tasks["dead"] for one in found)
    if as_json:
        document = {"ok": ok, "version": version, "unplanned": unplanned, "unmatched_today": unmatched}
        print_json(document | {"destinations": [asdict(one) for one in found]})
    else:
        table = Table("destination", "state", *outbox.STATES, "oldest", "confirmed", "last error", box=None)
        for one in found:
            counts = [f"{one.tasks[state]:,}" for state in outbox.STATES]
            age = f"{one.oldest_s / 60:.0f} min" if one.oldest_s else ""
            table.add_row(one.destination, _state(one), *counts, age, f"{one.confirmed:,}", one.error)
        out.print(table)
        out.print(
            f"rules version {version}; {unmatched:,} images today matched no rule, {unplanned:,} are not compared yet"
        )
    raise typer.Exit(0 if ok else 1)


@route_app.command()
def ping(
    destination: Annotated[str, typer.Argument(help="Name of the destination.")],
    *,
    image: Annotated[bool, typer.Option("--image", help="Also send a test image, the same one each time.")] = False,
    config: ConfigOption = settings.DEFAULT_PATH,
    certificate: Certificate = _TLS / "node.crt",
    key: Key = _TLS / "node.key",
    authority: Authority = _TLS / "ca-pacs.crt",
    secrets: Secrets = _SECRETS,
) -> None:
    """Ask a destination of the rules from this node whether it answers. Exit code 1: no answer of success."""
    with errors():
        with of_catalog(config, "route") as database:
            _, document = database.run(ruleset.current)
        known = Outgoing.model_validate(document).destinations
        if destination not in known:
            raise ConfigurationError(f"there is no destination {destination} (known: {', '.join(known) or 'none'})")
        trust_only(authority)
        access = Access(Identity(certificate, key, authority), secrets)
        answer = ask(known[destination], access)
        if image:
            known_as = settings.load(config)
            sent = ProbeImage(f"{known_as.site}/route", known_as.node, destination)
            answer = f"{answer}; test image {send_image(known[destination], access, sent)}"
    out.print(f"{destination}: {answer}")


@route_app.command()
def replay(
    rules: Annotated[Path, typer.Argument(help="The rules, as JSON.", exists=True, dir_okay=False)],
    *,
    since_s: Annotated[int, typer.Option(min=1, help="How far back, seconds.")] = 7 * 86400,
    limit_s: Annotated[int, typer.Option(min=1, help="Time after which it ends where it is.")] = 300,
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """Show what rules would have sent of past images, the newest first. Nothing is sent or recorded."""
    with errors(), of_catalog(config, "route") as database:
        routing, known = _checked(rules), settings.load(config)
        reader = reader_of(known, database, Metrics())
        described_as = header.described_as(known.undeclared)
        replayed = Replay(database, reader.head_of, reader.read, described_as)
        found = replayed.run(routing, timedelta(seconds=since_s), limit_s)
    sent = [{"rule": rule, "destination": peer, **asdict(tally)} for (rule, peer), tally in found.sent.items()]
    if as_json:
        print_json({**asdict(found), "sent": sent})
        return
    table = Table("rule", "destination", "images", "MB", "for example", box=None)
    rest = (("no rule", found.unmatched), ("not readable", found.unread), ("all", found.compared))
    for one in [*sent, *({"rule": name, "destination": "", **asdict(tally)} for name, tally in rest)]:
        studies = " ".join(one["studies"])
        table.add_row(one["rule"], one["destination"], f"{one['images']:,}", f"{one['bytes'] / 1e6:,.1f}", studies)
    out.print(table)
    out.print(f"images since {found.back_to:%Y-%m-%d %H:%M:%S}{'' if found.complete else ' (the time limit ended it)'}")


@route_app.command()
def study(
    uid: Annotated[str, typer.Argument(help="Study Instance UID.")],
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """Show where a study went, and when it and its series were complete."""
    with errors(), of_catalog(config, "route") as database:
        found = database.run(lambda c: outbox.of_study(c, uid))
        completions = database.run(lambda c: gathering.of_study(c, uid))
    if as_json:
        keys = ("destination", "state", "images", "ended_at")
        document = {"study": uid, "tasks": [dict(zip(keys, row, strict=True)) for row in found]}
        print_json(document | {"completions": [asdict(one) for one in completions]})
        return
    if not found:
        err.print(f"no rule has matched an image of study {uid}")
        return
    tasks = Table("destination", "state", "images", "last end", box=None)
    for destination, state, images, ended_at in found:
        tasks.add_row(destination, state, f"{images:,}", f"{ended_at:%Y-%m-%d %H:%M:%S}" if ended_at else "")
    out.print(tasks)
    if completions:
        table = Table("complete", "UID", "revision", "images", "at", "why", "node", box=None)
        for one in completions:
            at = f"{one.completed_at:%Y-%m-%d %H:%M:%S}"
            table.add_row(one.level, one.uid, str(one.revision), f"{one.images:,}", at, one.reason, one.node)
        out.print(table)


@outbox_app.command("list")
def list_(
    *,
    config: ConfigOption = settings.DEFAULT_PATH,
    as_json: JsonOption = False,
    destination: Destination = None,
    study: Study = None,
    state: Annotated[
        State | None,
        typer.Option(help="Not given: all that are not at their end. Confirmed and dropped: of a study only."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Most tasks.")] = 100,
) -> None:
    """List tasks by priority and due time: waiting ones in the order in which they are sent."""
    if state in {"confirmed", "dropped"} and study is None:
        err.print(f"tasks that are {state} are found by their study: give --study", style="red")
        raise typer.Exit(2)
    with errors(), of_catalog(config, "route") as database:
        found = database.run(lambda c: outbox.tasks(c, Selection(destination, study), state, limit))
    if as_json:
        print_json([asdict(one) for one in found])
        return
    table = Table("task", "destination", "state", "attempts", "age", "study", "instance", "reason", box=None)
    for one in found:
        age = f"{(datetime.now(UTC) - one.created_at).total_seconds() / 60:.0f} min"
        table.add_row(str(one.id), one.destination, one.state, str(one.attempts), age, one.study, one.sop, one.reason)
    out.print(table)


@outbox_app.command()
def show(
    task: Annotated[int, typer.Argument(help="Number of the task.")],
    config: ConfigOption = settings.DEFAULT_PATH,
) -> None:
    """Show all that is known of one task, as JSON."""
    with errors(), of_catalog(config, "route") as database:
        found = database.run(lambda c: outbox.task(c, task))
    if found is None:
        err.print(f"there is no task {task}")
        raise typer.Exit(1)
    print_json(asdict(found))


def _intervention(action: Action, what: str) -> None:
    """Add the command of an intervention; they differ in what they do only."""

    def intervene(
        *,
        reason: Reason,
        config: ConfigOption = settings.DEFAULT_PATH,
        destination: Destination = None,
        study: Study = None,
        task: Number = None,
        operator: Operator = SELF,
    ) -> None:
        selection = Selection(destination, study, task)
        if selection == Selection():
            err.print("nothing is selected: give --destination, --study or --task", style="red")
            raise typer.Exit(2)
        with errors(), of_catalog(config, "route") as database:
            count = database.run(lambda c: outbox.intervene(c, action, selection, operator, reason))
        out.print(f"{action}: {count:,} tasks or destinations changed")

    outbox_app.command(action, help=what)(intervene)


_intervention("retry", "Send dead tasks again; a destination that rests after a failure is tried now.")
_intervention("hold", "Hold waiting tasks; of a destination as a whole also those that come later.")
_intervention("release", "Release what is held.")
_intervention("drop", "Never send waiting, held or dead tasks. Their rows remain, and so do the stored images.")


def _copying(folder: Path) -> Access:
    return Access(Identity(folder / "replica.crt", folder / "replica.key", folder / "ca-replica.crt"))


def _state(one: outbox.Status) -> str:
    if one.held:
        return "held"
    return f"failed {one.failures} times" if one.failures else "works"


def _checked(file: Path) -> Outgoing:
    try:
        routing = Outgoing.model_validate(json.loads(file.read_bytes()))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc'])) or 'file'}: {item['msg']}" for item in error.errors()]
    except ValueError as error:
        problems = [f"is not JSON: {error}"]
    else:
        problems = [f"{one.field}: {one.message}" for one in mistakes(routing)]
        if not problems:
            return routing
    raise ConfigurationError("\n".join(f"{file}: {problem}" for problem in problems))
