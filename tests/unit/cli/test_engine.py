import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hapacs import image, secrets
from hapacs.deployment import Deployment
from hapacs.engine import Engine, EngineError
from hapacs.errors import RefusedError
from pulumi import automation

PRINTED = """
 +  lab:LabNetwork site-network creating (0s) error: Exception calling application: no subnet is free
Diagnostics:
  pulumi:pulumi:Stack (hapacs-lab):
    error: preview failed

  pulumi-python:dynamic/lab:LabNetwork (site-network):
    error: Exception calling application: no subnet is free
    Remove one.

Resources:
    1 errored
"""


@pytest.fixture
def engine(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr(image, "tag", lambda: "image:1")
    # The engine puts its own directories first on this process's path.
    monkeypatch.setenv("PATH", os.environ["PATH"])
    secrets.ensure(deployment)
    return Engine(deployment)


def lock(deployment: Deployment, process: int) -> Path:
    path = deployment.state / "pulumi" / ".pulumi" / "locks" / "organization" / "hapacs" / "lab" / "one.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"pid": process, "username": "somebody", "hostname": "here"}))
    return path


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> dict[str, automation.LocalWorkspaceOptions]:
    """The Automation API is played: it notes how it was called, then fails as a real engine may."""
    opened: dict[str, automation.LocalWorkspaceOptions] = {}

    class Failing:
        def preview(self, **_: object) -> None:
            raise automation.CommandError(automation.CommandResult(PRINTED, "", 255))

    def create(name: str, _project: str, _program: object, opts: automation.LocalWorkspaceOptions) -> Failing:
        opened[name] = opts
        return Failing()

    monkeypatch.setattr(automation, "create_or_select_stack", create)
    return opened


def test_stack_is_stored_in_the_state_of_its_deployment(
    engine: Engine, deployment: Deployment, stack: dict[str, automation.LocalWorkspaceOptions]
) -> None:
    with pytest.raises(EngineError):
        engine.preview()
    variables = stack["lab"].env_vars or {}
    assert variables["PULUMI_BACKEND_URL"] == f"file://{deployment.state}/pulumi"
    assert variables["PULUMI_SKIP_UPDATE_CHECK"] == "1"
    assert variables["PULUMI_CONFIG_PASSPHRASE"] == secrets.read(deployment)["hapacs_secret_pulumi_passphrase"]


@pytest.mark.usefixtures("stack")
def test_failure_names_the_cause_the_log_and_the_remedy(engine: Engine, deployment: Deployment) -> None:
    with pytest.raises(EngineError) as caught:
        engine.preview()
    log = next(deployment.logs.glob("*-pulumi-plan.log"))
    assert caught.value.message == "Pulumi failed (plan): no subnet is free\nRemove one."
    assert str(log) in str(caught.value)
    assert "continues" in str(caught.value)
    assert "no subnet is free" in log.read_text()


@pytest.mark.usefixtures("stack")
def test_lock_of_a_killed_run_is_removed(engine: Engine, deployment: Deployment) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    path = lock(deployment, ended.pid)
    with pytest.raises(EngineError, match="no subnet is free"):
        engine.preview()
    assert not path.exists()


def test_lock_of_a_running_engine_is_respected(engine: Engine, deployment: Deployment) -> None:
    path = lock(deployment, os.getpid())
    with pytest.raises(EngineError, match="is working on this stack"):
        engine.preview()
    assert path.exists()


def test_missing_engine_is_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file", "pulumi")

    monkeypatch.setattr(automation, "create_or_select_stack", missing)
    with pytest.raises(RefusedError, match="make setup"):
        engine.preview()


@pytest.mark.usefixtures("stack")
def test_providers_are_served_by_the_same_python(engine: Engine, deployment: Deployment) -> None:
    with pytest.raises(EngineError):
        engine.preview()
    launcher = deployment.state / "bin" / "pulumi-resource-pulumi-python"
    assert os.access(launcher, os.X_OK)
    assert f'"{sys.executable}" -u -m pulumi.dynamic' in launcher.read_text()
