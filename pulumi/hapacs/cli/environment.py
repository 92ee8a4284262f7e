"""``hapacs env``: the variables with which bare ``pulumi``, ``ansible-playbook`` and ``sops`` work on a deployment."""

from __future__ import annotations

import shlex
import sys

from hapacs.cli.parameters import Name
from hapacs.deployment import Deployment


def env(name: Name = "lab") -> None:
    """Print shell variables with which pulumi, ansible-playbook and sops work on a deployment.

    Example: eval "$(hapacs env lab)"
    """
    deployment = Deployment.load(name)
    lines = [f"export {key}={shlex.quote(value)}" for key, value in deployment.variables().items()]
    # The shell asks sops for the passphrase, so that it is printed nowhere.
    extract = (
        f"sops --decrypt --extract '[\"hapacs_secret_pulumi_passphrase\"]' {shlex.quote(str(deployment.secrets_file))}"
    )
    lines.append(f'export PULUMI_CONFIG_PASSPHRASE="$({extract})"')
    lines.append(f"export ANSIBLE_INVENTORY={shlex.quote(str(deployment.directory))}")
    sys.stdout.write("".join(f"{line}\n" for line in lines))
