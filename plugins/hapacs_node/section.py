"""Parts of a configuration file, and the file of a service of ours."""

import json
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from hapacs_node.errors import ConfigurationError


class Section(BaseModel):
    """A part: frozen, and an unknown key is an error instead of a setting that does nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ServiceFile(Section):
    """The whole configuration of a service, as its role writes it."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file.

        Raises
        ------
        ConfigurationError
            With all problems, one on each line.
        """
        try:
            return cls.model_validate(json.loads(path.read_bytes()))
        except OSError as error:
            raise ConfigurationError(f"{path}: can't be read: {error.strerror}; run `hapacs up`") from error
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, item['loc'])) or 'file'}: {item['msg']}" for item in error.errors()]
            raise ConfigurationError("\n".join(f"{path}: {problem}" for problem in problems)) from None
        except ValueError as error:
            raise ConfigurationError(f"{path}: is not JSON: {error}") from error
