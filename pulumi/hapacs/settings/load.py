"""Reading settings: everything that is wrong is reported at once, each problem with its field."""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from hapacs.errors import RefusedError
from hapacs.settings import partial
from hapacs.settings.checks import check
from hapacs.settings.models import Settings
from hapacs.settings.problem import Problem, each
from hapacs.settings.wording import is_echo, plain

MAXIMUM_BYTES = 1024**2
"""A larger file is something else, such as a disk image or a log."""


class SettingsError(RefusedError):
    """Settings that can't be used.

    Attributes
    ----------
    source
        The file's path, for the message.
    problems
        All problems that were found.
    """

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{source}: {count} problem{'s' if count > 1 else ''}"
        super().__init__(
            "\n".join([head, *(f"  {problem}" for problem in self.problems)]),
            "Nothing was touched. Correct the settings and run again.",
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
            raise _refused(source, f"is larger than {MAXIMUM_BYTES} bytes, so it is no settings file")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise _refused(source, "there is no such file; copy inventories/lab/settings.yaml and change it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise _refused(source, f"the file can't be read: {error}") from error
    try:
        # A subclass of SafeLoader.
        data = yaml.load(text, Loader=_Loader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise _refused(source, f"is not valid YAML: {error.problem}{place}") from error
    except RecursionError:
        raise _refused(source, "is not valid YAML: it is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise _refused(source, f"is not valid YAML: {error}") from error
    return parse(data, source, path.resolve().parent.name)


def parse(data: object, source: str = "settings", directory: str | None = None) -> Settings:
    """Check settings that were read already.

    Parameters
    ----------
    data
        As YAML gives it.
    source
        The file's path, for messages.
    directory
        The name of the file's directory, which the deployment must have too. Not given: not checked.

    Raises
    ------
    SettingsError
        With every problem found: those of single fields, and those over several fields as far as these are sound.
    """
    if not isinstance(data, Mapping):
        raise _refused(source, "the file must hold keys with values, such as `deployment: lab`")
    problems: list[Problem] = []
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        problems = [plain(item) for item in error.errors(include_url=False) if not is_echo(item)]
        settings = partial.build(Settings, data)
    problems += [*check(settings), *_directory(settings, directory)]
    if problems:
        raise SettingsError(source, dict.fromkeys(problems))
    return settings


@each
def _directory(settings: Settings, directory: str | None) -> Iterator[Problem]:
    """State, stack and containers have the directory's name: a copied file must not change another deployment."""
    if directory is not None and settings.deployment != directory:
        yield Problem(
            "deployment", f"{settings.deployment} is not the name of the directory, {directory}; make them equal"
        )


def _refused(source: str, message: str) -> SettingsError:
    return SettingsError(source, [Problem("", message)])
