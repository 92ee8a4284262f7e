"""Reading settings: everything that is wrong is reported at once, each problem with its field."""

from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from hapacs.errors import RefusedError
from hapacs.settings.checks import Problem, check, check_site
from hapacs.settings.models import Settings, Site

MAXIMUM_BYTES = 1024**2
"""A larger file is a mistake (a disk image, a log), not settings."""


class SettingsError(RefusedError):
    """The settings can't be used.

    Attributes
    ----------
    source
        Where they came from, for the message.
    problems
        All of them.
    """

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{source}: {count} problem{'s' if count > 1 else ''}"
        super().__init__(
            "\n".join([head, *(f"  {problem}" for problem in self.problems)]),
            "Nothing was touched. Mend the settings and run again.",
        )


class _Loader(yaml.SafeLoader):
    """YAML's safe types, but a key given twice is an error instead of the last one winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(path: Path) -> Settings:
    """Read and check a settings file.

    Raises
    ------
    SettingsError
        With every problem found.
    """
    source = str(path)
    try:
        if path.stat().st_size > MAXIMUM_BYTES:
            raise _refused(source, f"larger than {MAXIMUM_BYTES} bytes; this is no settings file")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise _refused(source, "no such file; `hapacs init` makes a deployment") from None
    except (OSError, UnicodeDecodeError) as error:
        raise _refused(source, f"can't be read: {error}") from error
    try:
        # A subclass of SafeLoader.
        data = yaml.load(text, Loader=_Loader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise _refused(source, f"no valid YAML: {error.problem}{place}") from error
    except RecursionError:
        raise _refused(source, "no valid YAML: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise _refused(source, f"no valid YAML: {error}") from error
    settings = parse(data, source)
    if settings.deployment != path.resolve().parent.name:
        # State, stack and containers carry the directory's name: a copied file must not reach for another deployment.
        message = f"is {settings.deployment!r}, but the directory is {path.resolve().parent.name!r}; make them equal"
        raise SettingsError(source, [Problem("deployment", message)])
    return settings


def parse(data: object, source: str = "settings") -> Settings:
    """Check settings that were read already.

    Raises
    ------
    SettingsError
        With every problem found. Checks over several fields of a site need that the site's own fields are sound.
    """
    if not isinstance(data, Mapping):
        raise _refused(source, "the file has to hold a mapping of keys to values")
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        problems = [_problem(item) for item in error.errors()]
        problems += _sound_sites(data.get("sites"))
        raise SettingsError(source, problems) from None
    if found := check(settings):
        raise SettingsError(source, found)
    return settings


def _sound_sites(sites: object) -> Iterable[Problem]:
    """Check the sites whose own fields are sound, so that a typing error elsewhere hides nothing in them."""
    if not isinstance(sites, Mapping):
        return
    for name, data in sites.items():
        try:
            site = Site.model_validate(data)
        except ValidationError:
            continue
        yield from check_site(str(name), site)


def _problem(item: ErrorDetails) -> Problem:
    location = [str(part) for part in item["loc"] if part != "[key]"]
    # pydantic puts the kind of a target into the path, but it is no key of the file.
    if location[0] == "target" and len(location) > 1:
        del location[1]
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        message = "there is no such setting; remove it or mend its name"
    elif item["type"] == "missing":
        message = "is missing; add it"
    elif item["type"] == "string_pattern_mismatch":
        message = f"{item['input']!r} doesn't fit the pattern {item['ctx']['pattern']}"
    return Problem(".".join(location), message)


def _refused(source: str, message: str) -> SettingsError:
    return SettingsError(source, [Problem("", message)])
