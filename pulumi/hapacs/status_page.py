"""The status page, packed on the controller for the balancers, which serve it from memory (ADR 68).

It is `monitoring/page`, the chart library that ``requirements/charts.json`` pins, the runbooks as one page, and the
objectives.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import io
import json
import re
import tarfile
import tempfile
from pathlib import Path

import yaml
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from hapacs.deployment import PROJECT, cache_directory
from hapacs.errors import HapacsError
from hapacs.npm import Pinned

PAGE = PROJECT / "monitoring" / "page"
OBJECTIVES = PROJECT / "monitoring" / "objectives.yml"
RUNBOOKS = PROJECT / "docs" / "runbooks"
#: Names a file with the chart library as it was published, for a controller that reaches no registry.
CHARTS = Pinned("charts of the status page", PROJECT / "requirements" / "charts.json", "HAPACS_CHARTS_ARCHIVE")
_LIBRARY = {"package/dist/uPlot.esm.js": "uplot.js", "package/dist/uPlot.min.css": "uplot.css"}
_MTIME = 1735689600  # 2025-01-01: a fixed time makes the archive the same bytes every time
_SECTION = re.compile(r"^([\w-]+)\.md$")
_HEAD = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Runbooks</title>
<link rel="icon" href="icon.svg">
<link rel="stylesheet" href="page.css">
</head>
<body>
<header><h1>Runbooks</h1><p><a href="./">Status</a></p></header>
<main class="runbooks">
"""
_TAIL = "</main>\n</body>\n</html>\n"


def files() -> dict[str, bytes]:
    """Return the files of the page by their names, without the chart library."""
    found = {path.name: path.read_bytes() for path in sorted(PAGE.iterdir()) if path.is_file()}
    return found | {"site.json": _objectives(), "runbooks.html": runbooks().encode()}


def served() -> dict[str, bytes]:
    """Return all files by their names.

    Raises
    ------
    HapacsError
        When the chart library can't be fetched, is another one than the pinned one, or is built differently.
    """
    return files() | _library(CHARTS.content())


def path() -> Path:
    """Return the file of the packed page; its name changes with its content."""
    parts = [CHARTS.pin.read_bytes(), *(part for name, content in files().items() for part in (name.encode(), content))]
    identity = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    return cache_directory() / "status-page" / f"status-page-{identity}.tar"


def ensure() -> Path:
    """Pack the page unless its archive exists, and return that archive.

    Raises
    ------
    HapacsError
        As `served`.
    """
    final = path()
    if final.is_file():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    content = served()
    with tempfile.TemporaryDirectory(dir=final.parent, prefix=".new-") as temporary:
        made = Path(temporary) / final.name
        with tarfile.open(made, "w", format=tarfile.USTAR_FORMAT) as archive:
            # The page is the last file, so that an interrupted copy has none.
            for name in sorted(content, key=lambda name: (name == "index.html", name)):
                packed = gzip.compress(content[name], compresslevel=9, mtime=0)
                entry = tarfile.TarInfo(f"{name}.gz")
                entry.size, entry.mode, entry.mtime = len(packed), 0o644, _MTIME
                archive.addfile(entry, io.BytesIO(packed))
        made.replace(final)
    return final


def _library(content: bytes) -> dict[str, bytes]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as bundle:
        for member in bundle:
            if member.isfile() and member.name in _LIBRARY and (file := bundle.extractfile(member)) is not None:
                found[_LIBRARY[member.name]] = file.read()
    if missing := set(_LIBRARY.values()) - set(found):
        raise HapacsError(
            f"The chart library {CHARTS.version} is built differently: it has no {', '.join(sorted(missing))}.",
            "Look into the bundle, and make pulumi/hapacs/status_page.py fit it.",
        )
    return found


def _objectives() -> bytes:
    listed = yaml.safe_load(OBJECTIVES.read_text(encoding="utf-8"))
    shown = [{"name": name, "about": one["about"], "target": one["target"]} for name, one in listed.items()]
    return json.dumps({"objectives": shown}).encode()


def runbooks() -> str:
    """Return all runbooks as one page, each with the name of its file as its anchor.

    A link to another document becomes its name: nodes have no other documents.
    """
    sections = []
    for source in sorted(RUNBOOKS.glob("*.md")):
        if source.name == "README.md":
            continue
        markdown = MarkdownIt("commonmark", {"html": False})
        markdown.add_render_rule("link_open", _link_open)
        markdown.add_render_rule("link_close", _link_close)
        text = markdown.render(source.read_text(encoding="utf-8"))
        # One page has one heading of the first level.
        text = re.sub(r"<(/?)h([1-5])>", lambda found: f"<{found[1]}h{int(found[2]) + 1}>", text)
        sections.append(f'<section id="{html.escape(source.stem)}">\n{text}</section>\n')
    return _HEAD + "".join(sections) + _TAIL


def _anchor(target: object) -> str | None:
    found = _SECTION.match(str(target))
    return found[1] if found else None


def _link_open(renderer: RendererHTML, tokens: list[Token], index: int, options: object, env: object) -> str:  # noqa: ARG001 - markdown-it's signature
    target = tokens[index].attrGet("href")
    anchor = _anchor(target)
    if anchor is None:
        document = str(target).partition("#")[0].replace("../", "docs/", 1)
        # What closes it is in the same list, with the same level.
        tokens[_closing(tokens, index)].meta["document"] = document
        return "<em>"
    return f'<a href="#{html.escape(anchor)}">'


def _link_close(renderer: RendererHTML, tokens: list[Token], index: int, options: object, env: object) -> str:  # noqa: ARG001 - markdown-it's signature
    document = tokens[index].meta.get("document")
    return "</a>" if document is None else f"</em> ({html.escape(document)})"


def _closing(tokens: list[Token], index: int) -> int:
    return next(
        at
        for at in range(index + 1, len(tokens))
        if tokens[at].type == "link_close" and tokens[at].level == tokens[index].level
    )
