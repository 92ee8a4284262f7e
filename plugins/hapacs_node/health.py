"""The health of a node: background probes, so that an answer needs no work."""

import threading
import time
from collections.abc import Callable, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from hapacs_node import log
from hapacs_node.errors import NodeError
from hapacs_node.metrics import Metrics
from hapacs_node.settings import Health as HealthSettings

_LOG = log.get("health")
Service = Literal["store", "query", "check"]


@dataclass(frozen=True)
class Check:
    """The latest answer of one probe.

    Attributes
    ----------
    ok : bool
        Whether the probe succeeded.
    detail : str
        The observation, or the error.
    took_s : float
        Duration of the probe.
    at : float
        When it ended, monotonic seconds.
    """

    ok: bool
    detail: str
    took_s: float
    at: float


def try_once(probe: Callable[[], str]) -> Check:
    """Run a probe now.

    Parameters
    ----------
    probe : callable
        Returns its observation, or raises.
    """
    began = time.monotonic()
    try:
        ok, detail = True, probe()
    except (NodeError, OSError) as error:
        ok, detail = False, " ".join(str(error).split())
    except MemoryError:
        ok, detail = False, "out of memory"
    now = time.monotonic()
    return Check(ok, detail, now - began, now)


@dataclass
class Health:
    """Background probes and their latest answers.

    Parameters
    ----------
    node : str
        This node's name, for the answer.
    service : {'store', 'query', 'check'}
        A query service needs the index and one of the two copies; the others need all probes.
    probes : mapping
        By name: database, das, cas, and further ones of the service.
    settings : hapacs_node.settings.Health
        Period of the probes, and the age at which an answer is too old.
    metrics : Metrics
        Shows the latest answers.
    often : set of str
        Probes of this process itself: it is what fails most often, and they cost little.
    """

    node: str
    service: Service
    probes: Mapping[str, Callable[[], str]]
    settings: HealthSettings
    metrics: Metrics
    often: Set[str] = frozenset()
    _checks: dict[str, Check] = field(default_factory=dict, init=False)
    _stop: threading.Event = field(default_factory=threading.Event, init=False)

    def __post_init__(self) -> None:
        self._ok = self.metrics.gauge("hapacs_health_ok", "1 while the check succeeds", ["check"])

    def start(self) -> None:
        """Start each probe on its own thread, so that a probe that hangs does not delay the others."""
        for name in self.probes:
            threading.Thread(target=self._repeat, args=(name,), name=f"health-{name}", daemon=True).start()

    def stop(self) -> None:
        """Stop probing."""
        self._stop.set()

    def refresh(self, name: str) -> None:
        """Run one probe now and record its answer. The first failure after a success is confirmed by a second run."""
        before, check = self._checks.get(name), try_once(self.probes[name])
        if not check.ok and before is not None and before.ok and not self._stop.wait(self._again_after_s(name)):
            # A failover of the database or the archive is no reason to refuse modalities: stores wait for it.
            check = try_once(self.probes[name])
        self._checks[name] = check
        self._ok.labels(name).set(check.ok)
        if before is None or before.ok != check.ok:
            write = _LOG.warning if check.ok else _LOG.error
            if before is None and name in self.often:
                # A service that starts does not serve itself yet.
                write = _LOG.info
            write(log.line("health_changed", check=name, ok=check.ok, detail=check.detail))

    def report(self) -> dict[str, object]:
        """Report the latest answers.

        Returns
        -------
        dict
            ``{"ok", "node", "service", "checks": {name: {"ok", "detail", "took_s", "age_s"}}}``, fit for JSON.
        """
        now = time.monotonic()
        checks = {}
        for name in self.probes:
            check = self._checks.get(name)
            if check is None:
                checks[name] = {"ok": False, "detail": "not probed yet", "took_s": None, "age_s": None}
                continue
            age_s = now - check.at
            fresh = age_s <= self.settings.stale_after_s
            checks[name] = {
                "ok": check.ok and fresh,
                "detail": check.detail if fresh else f"the probe hangs; its last answer was: {check.detail}",
                "took_s": round(check.took_s, 3),
                "age_s": round(age_s, 1),
            }
        good = {name for name, check in checks.items() if check["ok"]}
        # One of the two copies is enough. All else is needed.
        readable = bool({"das", "cas"} & good) and good >= set(self.probes) - {"das", "cas"}
        ok = readable if self.service == "query" else good == set(self.probes)
        return {"ok": ok, "node": self.node, "service": self.service, "checks": checks}

    def _repeat(self, name: str) -> None:
        period_s = self.settings.often_s if name in self.often else self.settings.period_s
        while not self._stop.is_set():
            # No memory even to log the answer. The thread must continue, or the answer would never change.
            with suppress(MemoryError):
                self.refresh(name)
            check = self._checks.get(name)
            self._stop.wait(period_s if check is not None and check.ok else self._again_after_s(name))

    def _again_after_s(self, name: str) -> float:
        return self.settings.often_again_after_s if name in self.often else self.settings.again_after_s
