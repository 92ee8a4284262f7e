"""``hapacs bench``: how fast a site is, compared with a bare Orthanc on one of its nodes."""

from __future__ import annotations

import json as json_module
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hapacs.cli.output import Steps, console, print_item, print_json, print_table
from hapacs.cli.parameters import Json, Name
from hapacs.deployment import PROJECT, Deployment
from hapacs.errors import ExitCode

if TYPE_CHECKING:
    from hapacs.bench.ingest import OnStep
    from hapacs.site.access import Site

app = typer.Typer(no_args_is_help=True, help="Measure a site against a bare Orthanc on one of its nodes.")

Rows = Annotated[int, typer.Option("--size", min=16, max=4096, help="Rows and columns of each 16-bit image.")]
Rounds = Annotated[int, typer.Option(min=1, max=50, help="Measured rounds of each side.")]
Associations = Annotated[int, typer.Option(min=1, max=16, help="Concurrent associations.")]
Instances = Annotated[int, typer.Option(min=16, max=5000, help="Images stored in each round.")]


@app.command()
def ingest(  # noqa: PLR0917 - typer calls it
    name: Name = "lab",
    associations: Associations = 8,
    instances: Instances = 200,
    size: Rows = 512,
    rounds: Rounds = 5,
    json: Json = False,
) -> None:
    """Store generated CT images at the site and at a bare Orthanc in turn; compare rates, times and CPU."""
    from hapacs.bench import ingest as measure  # noqa: PLC0415 - its clients are slow to import

    options = measure.Options(associations, instances, size, rounds)
    _run("ingest", name, json, lambda site, now: measure.run(site, options, now), _print_ingest)


@app.command()
def retrieve(
    name: Name = "lab",
    instances: Annotated[
        int, typer.Option(min=2, max=2000, help="Images in a study. Less than 64 MB in all stay in Orthanc's memory.")
    ] = 200,
    size: Rows = 512,
    rounds: Rounds = 3,
    json: Json = False,
) -> None:
    """Retrieve studies by WADO-RS and C-GET, from the archive (cold) and from DAS (warm); compare rates and CPU."""
    from hapacs.bench import retrieve as measure  # noqa: PLC0415

    options = measure.Options(instances, size, rounds)
    _run("retrieve", name, json, lambda site, now: measure.run(site, options, now), _print_retrieve)


@app.command()
def viewer(
    name: Name = "lab",
    instances: Annotated[
        int, typer.Option(min=2, max=2000, help="Images of the CT. Less than 128 MB in all stay in Orthanc's memory.")
    ] = 500,
    size: Rows = 512,
    rounds: Rounds = 3,
    json: Json = False,
) -> None:
    """Open a CT as the viewer does, from the archive (cold) and from DAS (warm); compare their times."""
    from hapacs.bench import viewer as measure  # noqa: PLC0415

    options = measure.Options(instances, size, rounds)
    _run("viewer", name, json, lambda site, now: measure.run(site, options, now), _print_viewer)


@app.command()
def growth(  # noqa: PLR0917 - typer calls it
    name: Name = "lab",
    few: Annotated[int, typer.Option(min=1, help="Catalog rows in the first measurement.")] = 1_000,
    many: Annotated[int, typer.Option(min=1_000, help="Catalog rows in the last measurement.")] = 1_000_000,
    associations: Associations = 8,
    instances: Instances = 200,
    size: Rows = 512,
    queries: Annotated[int, typer.Option(min=10, max=5000, help="Queries of each kind in each round.")] = 100,
    rounds: Rounds = 3,
    json: Json = False,
) -> None:
    """Measure stores and queries with few and with many rows in index and catalog. For labs only."""
    from hapacs.bench import growth as measure  # noqa: PLC0415

    options = measure.Options(few, many, associations, instances, size, queries, rounds)
    _run("growth", name, json, lambda site, now: measure.run(site, options, now), _print_growth)


@app.command()
def idle(
    name: Name = "lab",
    seconds: Annotated[int, typer.Option(min=10, max=3600, help="How long the deployment is watched.")] = 120,
    json: Json = False,
) -> None:
    """Measure what the services of all sites take while nobody stores or asks, by role: processor time and memory."""
    from hapacs.bench import idle as measure  # noqa: PLC0415
    from hapacs.site.access import sites  # noqa: PLC0415

    def run(_site: Site, now: OnStep) -> dict[str, Any]:
        return measure.run(sites(Deployment.load(name)), seconds, now) | {"failed": 0}

    _run("idle", name, json, run, _print_idle)


@app.command()
def reconcile(
    rows: Annotated[int, typer.Option(min=1_000, help="Made rows of the catalog.")] = 1_000_000,
    output: Annotated[Path | None, typer.Option(help="A file for the result, JSON.")] = None,
    json: Json = False,
) -> None:
    """Compare made rows as `hapacs-node reconcile` does, in a PostgreSQL of this machine; measure time and memory."""
    from hapacs.bench import reconcile as measure  # noqa: PLC0415 - its clients are slow to import

    steps = Steps(quiet=json)
    document: dict[str, Any] = {"benchmark": "reconcile", "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    with steps.step("Benchmark reconcile") as step:
        document |= measure.run(rows, step.now)
    if output is not None:
        output.write_text(json_module.dumps(document, indent=2) + "\n", encoding="utf-8")
    if json:
        print_json(document)
    else:
        console.print(
            f"{document['rows']:,} rows: {document['compare_s']:.0f} s, "
            f"{document['processor_s']:.0f} s of processor time, "
            f"at most {document['most_bytes'] / 1e6:.0f} MB; {document['findings']} findings"
        )
    if not document["within"] or document["findings"]:
        if not json:
            console.print(f"[red]More than {measure.MOST_S} s, {measure.MOST_BYTES // 10**6} MB, or a finding.[/]")
        raise typer.Exit(ExitCode.UNHEALTHY)


@app.command("compare")
def compare_sites(
    rows: Annotated[int, typer.Option(min=1_000, help="Made images of each of two sites.")] = 1_000_000,
    json: Json = False,
) -> None:
    """Compare two sites with made rows as `hapacs dr compare` does, in a PostgreSQL of this machine; measure time."""
    from hapacs.bench import compare as measure  # noqa: PLC0415 - its clients are slow to import

    steps = Steps(quiet=json)
    document: dict[str, Any] = {"benchmark": "compare", "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    with steps.step("Benchmark compare") as step:
        document |= measure.run(rows, step.now)
    if json:
        print_json(document)
    else:
        for kind in ("equal", "different"):
            one = document[kind]
            console.print(
                f"{rows:,} images of each site, {one['differences']} differences: {one['compare_s']:.0f} s, "
                f"{one['requests']} requests with {one['bytes'] / 1e6:.1f} MB"
            )
    if not document["within"]:
        if not json:
            console.print(f"[red]More than {measure.MOST_S} s, or equal sites differ.[/]")
        raise typer.Exit(ExitCode.UNHEALTHY)


@app.command()
def outbox(
    rows: Annotated[int, typer.Option(min=10_000, help="Images that wait for destinations.")] = 1_000_000,
    json: Json = False,
) -> None:
    """Store and claim beside many images that wait for a destination, in a PostgreSQL of this machine."""
    from hapacs.bench import outbox as measure  # noqa: PLC0415 - its clients are slow to import

    steps = Steps(quiet=json)
    document: dict[str, Any] = {"benchmark": "outbox", "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    with steps.step("Benchmark outbox") as step:
        document |= measure.run(rows, step.now)
    if json:
        print_json(document)
    else:
        claims = document["claims"].items()
        console.print(
            f"{document['rows']:,} waiting images: stores at {document['ratio']:.2f} of the rate beside "
            f"{measure.FEW:,}; claims: "
            + ", ".join(f"{name} p50 {1e3 * it['p50_s']:.0f} ms, p99 {1e3 * it['p99_s']:.0f} ms" for name, it in claims)
        )
    if not document["within"]:
        if not json:
            console.print(f"[red]Less than {measure.LEAST_RATIO}, or more than {1e3 * measure.MOST_CLAIM_S:.0f} ms.[/]")
        raise typer.Exit(ExitCode.UNHEALTHY)


@app.command()
def routing(
    name: Name = "lab",
    instances: Annotated[
        int, typer.Option(min=3000, max=100_000, help="Images that wait for the destination that is down.")
    ] = 10_000,
    size: Rows = 512,
    associations: Annotated[int, typer.Option(min=1, max=16, help="Associations to a destination.")] = 2,
    json: Json = False,
) -> None:
    """Let images wait for a destination that is down, then send them; compare with dcmtk's storescu. For labs only."""
    from hapacs.bench import backlog  # noqa: PLC0415
    from hapacs.bench import routing as measure  # noqa: PLC0415

    options = backlog.Options(instances, size, associations)
    _run("routing", name, json, lambda site, now: measure.run(site, options, now), _print_routing)


@app.command()
def copies(  # noqa: PLR0917 - typer calls it
    name: Name = "lab",
    backlog: Annotated[
        int, typer.Option(min=1000, max=100_000, help="Images that wait for the other site before they are copied.")
    ] = 10_000,
    associations: Associations = 8,
    instances: Instances = 200,
    size: Rows = 512,
    rounds: Rounds = 5,
    json: Json = False,
) -> None:
    """Store with copies to the other site on and off in turns, and while a backlog is copied. For labs only."""
    from hapacs.bench import copies as measure  # noqa: PLC0415

    options = measure.Options(associations, instances, size, rounds, backlog)
    _run("copies", name, json, lambda site, now: measure.run(site, options, now), _print_copies)


@app.command()
def report(
    name: Name = "lab",
    directory: Annotated[Path, typer.Option(help="Directory for results, tables and pictures.")] = PROJECT
    / "docs"
    / "benchmarks",
) -> None:
    """Write the last results of a deployment as pictures and a page with the figures."""
    from hapacs.bench import report as drawing  # noqa: PLC0415 - matplotlib is slow to import

    written = drawing.write(Deployment.load(name).state / "bench", directory)
    for path in written:
        console.print(f"[green]✓[/] {path}")


def _run(
    kind: str,
    name: str,
    quiet: bool,
    measure: Callable[[Site, OnStep], dict[str, Any]],
    show: Callable[[Mapping[str, Any]], None],
) -> None:
    """Measure the deployment's first site, keep the result, and print it."""
    from hapacs.site.access import sites  # noqa: PLC0415

    deployment = Deployment.load(name)
    steps = Steps(quiet=quiet)
    document: dict[str, Any] = {"benchmark": kind, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    with deployment.alone(), steps.step(f"Benchmark {kind}") as step:
        document |= measure(sites(deployment)[0], step.now)
    document["seconds"] = sum(steps.seconds.values())
    file = deployment.state / "bench" / f"{kind}.json"
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.write_text(json_module.dumps(document, indent=2) + "\n", encoding="utf-8")
    if quiet:
        print_json(document)
    else:
        show(document)
        for failure in document.get("failures", ()):
            print_item("  [red]✗[/]", failure)
        console.print(f"The whole result: {file}. Next: `hapacs bench report {name}`.")
    if document["failed"]:
        console.print(f"[red]{document['failed']} failed.[/]") if not quiet else None
        raise typer.Exit(ExitCode.UNHEALTHY)


def _print_idle(document: Mapping[str, Any]) -> None:
    rows = [
        (role, f"{100 * share:.1f} %", f"{document['memory_bytes'].get(role, 0) / 2**20:.0f}")
        for role, share in document["shares"].items()
    ]
    print_table("An idle deployment", ("role", "of all processors", "memory MiB"), rows)
    watching = document["monitoring"]
    console.print(
        f"Services: {100 * document['services_share']:.1f} % of {document['processors']} processors; "
        f"with the kernel and all else on these machines: {100 * document['share']:.1f} %. Of it monitoring: "
        f"{100 * watching['share']:.1f} % and {watching['memory_bytes'] / 2**20:.0f} MiB."
    )


def _print_ingest(document: Mapping[str, Any]) -> None:
    heads = ("", "at a time", "images/s", "±", "p50 ms", "p95 ms", "p99 ms", "CPU ms/image", "by node")
    rows = []
    from hapacs.bench import ingest as measure  # noqa: PLC0415 - its clients are slow to import

    parts = measure.parts(document)
    for part in parts:
        for side in ("bare", "site"):
            one = part[side]
            times = (f"{value:.0f}" for value in one["response_ms"].values())
            used = f"{sum(one['cpu_ms_per_instance'].values()):.1f}"
            nodes = ", ".join(f"{node} {value:.1f}" for node, value in one["cpu_ms_per_instance_by_node"].items())
            rows.append((side, str(part["associations"]), *_rate(one["per_s"]), *times, used, nodes))
    print_table("", heads, rows)
    ratios = ", ".join(f"ratio {part['ratio']:.2f} with {part['associations']}" for part in parts)
    console.print(f"{ratios}; {document['failed']} failed")


def _print_retrieve(document: Mapping[str, Any]) -> None:
    heads = ("", "by", "site images/s", "±", "bare images/s", "±", "ratio")
    rows = []
    for temperature in ("cold", "warm"):
        for method, one in document[temperature].items():
            ours, theirs = _rate(one["site"]["per_s"]), _rate(one["bare"]["per_s"])
            rows.append((temperature, method, *ours, *theirs, f"{one['ratio']:.2f}"))
    print_table("", heads, rows)


def _print_viewer(document: Mapping[str, Any]) -> None:
    heads = ("", "", "first frame s", "±", "all frames s", "±")
    rows = []
    for temperature in ("cold", "warm"):
        for side in ("bare", "site"):
            one = document[temperature][side]
            times = (_seconds(one[what]) for what in ("first_frame_s", "all_frames_s"))
            rows.append((temperature, side, *(text for pair in times for text in pair)))
    print_table("", heads, rows)
    console.print(
        f"warm_ratio {document['warm_ratio']:.2f}, cold_ratio {document['cold_ratio']:.2f} for {document['instances']} "
        f"frames over {document['connections']} connections; {document['failed']} failed"
    )


def _print_growth(document: Mapping[str, Any]) -> None:
    few, many = document["few"], document["many"]
    heads = ("", f"/s beside {few['rows']:,} rows", "±", f"beside {many['rows']:,}", "±", "ratio")
    rows = []
    for kind, ratio in document["ratios"].items():
        rows.append((kind, *_rate(few[kind]["per_s"]), *_rate(many[kind]["per_s"]), f"{ratio:.2f}"))
    print_table("", heads, rows)


def _print_routing(document: Mapping[str, Any]) -> None:
    found = {"backlog": document["backlog_per_s"], "storescu": document["storescu_per_s"]}
    found |= {f"live destination, {side}": rate for side, rate in document["live_per_s"].items()}
    print_table("", ("", "images/s", "±"), [(what, *_rate(rate)) for what, rate in found.items()])
    console.print(
        f"ratio {document['ratio']:.2f}, live_ratio {document['live_ratio']:.2f} with {document['instances']:,} images "
        f"and {document['associations']} associations; {document['failed']} failed"
    )


def _seconds(series: Mapping[str, Any]) -> tuple[str, str]:
    return f"{series['median']:.2f}", f"{100 * series['spread'] / 2:.0f} %"


def _print_copies(document: Mapping[str, Any]) -> None:
    found = {f"copies {one}": rounds for one, rounds in document["copies"].items()}
    found |= {f"beside {one}": rounds for one, rounds in document["beside"].items()}
    rows = [
        (what, *_rate(one["per_s"]), *(f"{value:.0f}" for value in one["response_ms"].values()))
        for what, one in found.items()
    ]
    print_table("", ("", "images/s", "±", "p50 ms", "p95 ms", "p99 ms"), rows)
    console.print(
        f"ratio {document['ratio']:.2f}, p95_ratio {document['p95_ratio']:.2f} beside {document['backlog']:,} images, "
        f"with {document['associations']} associations; {document['failed']} failed"
    )


def _rate(series: Mapping[str, Any]) -> tuple[str, str]:
    return f"{series['median']:.1f}", f"{100 * series['spread'] / 2:.0f} %"
