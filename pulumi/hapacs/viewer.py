"""The browser viewer OHIF, downloaded on the controller and packed for the nodes: a node needs no package index.

``requirements/viewer.json`` pins the published bundle by version and hash.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from hapacs.deployment import PROJECT, cache_directory
from hapacs.errors import HapacsError
from hapacs.npm import Pinned

PIN = PROJECT / "requirements" / "viewer.json"
#: Names a file with the bundle as it was published, for a controller that reaches no registry.
GIVEN = "HAPACS_VIEWER_ARCHIVE"
_INSIDE = PurePosixPath("package/dist")
# Of the bundle's 246 files those that a viewer behind this site's own login needs: no service worker, no other login,
# no settings of a demonstration, no sources to debug with. `ort` (136 MB) runs a model that would be fetched from afar.
_WANTED = re.compile(
    r"[\w.-]+\.bundle\.[0-9a-f]{16}\.js|[\w.]+\.css|[0-9a-f]{16}\.(?:wasm|woff2)|ohif-logo[\w-]*\.svg"
    r"|assets/favicon[\w-]*\.(?:ico|png)|assets/images/[\w-]+\.png"
    r"|dicom-microscopy-viewer/[\w.]+\.(?:js|wasm)"
)
_AS_IT_IS = {".png", ".woff2", ".conf", ""}
_SCRIPT = re.compile(r'<script defer src="(/app\.bundle\.[0-9a-f]{16}\.js)"></script>')
# Workers by the number of their script, and the mark of scripts that generate code at run time (Emscripten's embind).
_WORKER = re.compile(
    rb"new Worker\(new URL\(/\* worker import \*/__webpack_require__\.p \+ __webpack_require__\.u\((\d+)\)"
)
_EVALUATES = b"createNamedFunction"
#: Lists, for nginx, the scripts of workers that make code at run time.
WORKERS = "workers.conf"
# The two inline scripts of the bundle's page, as a file, so that the policy need not allow inline scripts.
_BOOT = 'function browserImportFunction(n){return import(n)}window.PUBLIC_URL="/";console.time("scriptToView");\n'
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="UTF-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>OHIF Viewer</title>
<link rel="icon" href="/assets/favicon.ico">
<script src="/boot.js"></script>
<script src="/app-config.js"></script>
<script defer src="{script}"></script>
<link href="/app.bundle.css" rel="stylesheet">
</head>
<body><div id="react-portal"></div><div id="root"></div></body>
</html>
"""
_PACKING = "USTAR, gzip 9, page last"
_MTIME = 1735689600  # 2025-01-01: a fixed time makes the archive the same bytes every time


def _published() -> Pinned:
    return Pinned("viewer", PIN, GIVEN)


def identifier() -> str:
    """Return a hash of the pinned bundle and of the code that packs it."""
    parts = (PIN.read_text(encoding="utf-8"), _WANTED.pattern, _BOOT, _PAGE, _PACKING)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def path() -> Path:
    """Return the file of the packed viewer; its name changes with its content."""
    return cache_directory() / "viewer" / f"viewer-{_published().version}-{identifier()}.tar"


def ensure() -> Path:
    """Fetch and pack the viewer unless its archive exists, and return that archive.

    Raises
    ------
    HapacsError
        When the bundle can't be downloaded, or is not the pinned one.
    """
    final = path()
    if final.is_file():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    content = _published().content()
    with tempfile.TemporaryDirectory(dir=final.parent, prefix=".new-") as temporary:
        made = Path(temporary) / final.name
        _pack(content, made)
        made.replace(final)
    return final


def _pack(content: bytes, made: Path) -> None:
    """Write the served files, compressed where that helps; the page last, so that an interrupted copy has none."""
    with tarfile.open(made, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in _served(content):
            plain = PurePosixPath(name).suffix in _AS_IT_IS
            entry = tarfile.TarInfo(name if plain else f"{name}.gz")
            body = data if plain else gzip.compress(data, compresslevel=9, mtime=0)
            entry.size, entry.mode = len(body), 0o644
            # nginx makes its ETag of time and size: files of another version have another time.
            entry.mtime = _MTIME + int(identifier()[:6], 16)
            archive.addfile(entry, io.BytesIO(body))


def _served(content: bytes) -> Iterator[tuple[str, bytes]]:
    page, workers, evaluating = "", set(), {}
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as bundle:
        for member in bundle:
            place = PurePosixPath(member.name)
            if not member.isfile() or (file := bundle.extractfile(member)) is None:
                continue
            data = file.read()
            if place == _INSIDE.parent / "LICENSE":
                yield "LICENSE", data
            elif place == _INSIDE / "index.html":
                page = data.decode()
            elif place.is_relative_to(_INSIDE) and _WANTED.fullmatch(str(place.relative_to(_INSIDE))):
                name = str(place.relative_to(_INSIDE))
                workers.update(_WORKER.findall(data))
                if _EVALUATES in data:
                    evaluating[name.partition(".")[0].encode()] = name
                yield name, data
    scripts = _SCRIPT.findall(page)
    if len(scripts) != 1:
        raise HapacsError(
            f"The page of the viewer {_published().version} is built differently: {len(scripts)} scripts start it.",
            "Look at index.html in the bundle, and make pulumi/hapacs/viewer.py fit it.",
        )
    named = sorted(name for number, name in evaluating.items() if number in workers)
    yield WORKERS, "".join(f"/{name} 1;\n" for name in named).encode()
    yield "boot.js", _BOOT.encode()
    yield "index.html", _PAGE.format(script=scripts[0]).encode()
