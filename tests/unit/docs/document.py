"""What a Markdown document names: links, paths, commands, units, settings and identifiers."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)


def anchor(heading: str) -> str:
    """Return the anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower().replace("`", "")).replace(" ", "-")


@dataclass(frozen=True)
class Document:
    """One Markdown file.

    Parameters
    ----------
    path
        Where it is in the tree; links are relative to it.
    text
        Its content.
    """

    path: Path
    text: str

    @property
    def links(self) -> list[str]:
        """Targets of links, without those to other sites."""
        prose = _FENCE.sub("", self.text)
        return [link for link in _LINK.findall(prose) if not re.match(r"[a-z]+:", link)]

    @property
    def anchors(self) -> set[str]:
        """Anchors of its headings."""
        return {anchor(heading) for heading in _HEADING.findall(_FENCE.sub("", self.text))}

    @property
    def spans(self) -> list[str]:
        """Code in running text; a span may be broken over two lines."""
        return [" ".join(span.split()).replace("\\|", "|") for span in _SPAN.findall(_FENCE.sub("", self.text))]

    @property
    def blocks(self) -> list[tuple[str, str]]:
        """Language and content of each fenced block."""
        return _FENCE.findall(self.text)

    def code(self) -> Iterator[str]:
        """Yield each span and each line of a block of commands, without comments."""
        yield from self.spans
        for language, block in self.blocks:
            if language in {"", "sh"}:
                yield from (line.partition(" #")[0].strip() for line in block.replace("\\\n", " ").splitlines())
