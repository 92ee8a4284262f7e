"""What the rules of a site make of an image, found from the settings alone: nothing has to be up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.errors import InvalidDicomError

from hapacs.errors import UsageError
from hapacs_node.routing import attributes, checks, match
from hapacs_node.routing.match import Facts, Verdict
from hapacs_node.routing.model import Routing

MONDAY_NOON = datetime(2001, 1, 1, 12, tzinfo=UTC)


class Case(BaseModel):
    """An image, and where it has to go.

    Attributes
    ----------
    file
        A DICOM file, beside the case. Not given: `attributes`.
    attributes
        Attributes of the image, by keyword or tag.
    calling_ae, called_ae, user
        How the image came.
    stored_at
        When, in UTC. Not given: on a Monday at noon.
    goes_to
        The rule that sends it, by destination; empty when no rule may match.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str | None = None
    attributes: Mapping[str, str] = {}
    calling_ae: str = ""
    called_ae: str = ""
    user: str = ""
    stored_at: datetime = MONDAY_NOON
    goes_to: Mapping[str, str]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.file is None) == (not self.attributes):
            raise ValueError("give either file or attributes")
        return self


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes
    ----------
    name
        The file of the case.
    expected, found
        The rule by destination.
    verdicts
        Of every rule, with reasons.
    """

    name: str
    expected: Mapping[str, str]
    found: Mapping[str, str]
    verdicts: list[Verdict]

    @property
    def ok(self) -> bool:
        """Whether the image goes where it has to go."""
        return dict(self.expected) == dict(self.found)


def read(path: Path) -> Dataset:
    """Read a DICOM file without its pixels.

    Raises
    ------
    UsageError
        When it is none.
    """
    try:
        return dcmread(path, stop_before_pixels=True)
    except (OSError, InvalidDicomError) as error:
        raise UsageError(f"{path} is no DICOM file: {error}", "Give a DICOM file.") from error


def explain(routing: Routing, facts: Facts) -> tuple[list[Verdict], dict[str, str]]:
    """Return the verdict of every rule, and the rule that sends the image by destination."""
    found = match.verdicts(routing, facts)
    return found, {destination: rule.name for destination, rule in match.routes(found).items()}


def read_rules(file: Path, known: Routing) -> Routing:
    """Read a rule set that is not in the settings, with the keys of `sites.NAME.routing`.

    Parameters
    ----------
    file : Path
        YAML. Without destinations it has those of the settings.
    known : Routing
        That of the settings.

    Raises
    ------
    UsageError
        With every mistake.
    """
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            raise UsageError(f"{file} has no rules.", "Write them with the keys of `routing` in the settings.")
        routing = Routing.model_validate({"destinations": dict(known.destinations), **document})
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, one['loc'])) or 'file'}: {one['msg']}" for one in error.errors()]
    except (OSError, ValueError, yaml.YAMLError) as error:
        problems = [str(error)]
    else:
        problems = [f"{one.field}: {one.message}" for one in checks.mistakes(routing)]
        if not problems:
            return routing
    raise UsageError(f"{file}: {'; '.join(problems)}.", "Correct the rules.")


def run_cases(routing: Routing, folder: Path) -> list[Outcome]:
    """Compare every case of a folder with the rules.

    Raises
    ------
    UsageError
        When the folder has no case, or one is wrong.
    """
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise UsageError(f"{folder} has no case.", "Write one as docs/operations/routing.md describes, NAME.yaml.")
    return [_run(routing, file) for file in files]


def _run(routing: Routing, file: Path) -> Outcome:
    try:
        case = Case.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
        dataset = read(file.parent / case.file) if case.file is not None else _dataset(case.attributes)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'case'}: {one['msg']}" for one in error.errors())
        raise UsageError(f"{file}: {problems}.", "Correct the case.") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{file}: {error}", "Correct the case.") from error
    stored_at = case.stored_at if case.stored_at.tzinfo else case.stored_at.replace(tzinfo=UTC)
    association = {name: getattr(case, name) for name in attributes.ASSOCIATION}
    verdicts, found = explain(routing, Facts(dataset, stored_at, association))
    return Outcome(file.stem, case.goes_to, found, verdicts)


def _dataset(values: Mapping[str, str]) -> Dataset:
    dataset = Dataset()
    for name, value in values.items():
        attribute = attributes.parse(name)
        if attribute.tag is None or attribute.creator:
            raise ValueError(f"{name} can't be among attributes; give a file that has it")
        dataset.add_new(attribute.tag, dictionary_VR(attribute.tag), value)
    return dataset
