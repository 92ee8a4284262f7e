"""What a whole node gives to Prometheus: every service is scraped, and no rule asks for something that is not there."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from hapacs.services import network
from hapacs.services.model import GROUPS
from monitoring import expressions, scrape

LIMIT_S = 180


@pytest.fixture(scope="module")
def tls(authorities: Path) -> ssl.SSLContext:
    return scrape.context(authorities)


def series(address: str, tls: ssl.SSLContext, query: str) -> list[dict[str, Any]]:
    """Return what Prometheus answers to a query."""
    connection = http.client.HTTPSConnection(address, 9090, context=tls, timeout=30)
    connection.request("GET", f"/api/v1/query?query={query}")
    found: list[dict[str, Any]] = json.load(connection.getresponse())["data"]["result"]
    return found


def test_every_service_with_metrics_is_scraped(address: str, tls: ssl.SSLContext) -> None:
    wanted = set(network.jobs({group: ["n"] for group in GROUPS}, "shared"))
    deadline = time.monotonic() + LIMIT_S
    while (up := {it["metric"]["job"] for it in series(address, tls, "up") if it["value"][1] == "1"}) != wanted:
        assert time.monotonic() < deadline, wanted - up
        time.sleep(2)


def test_every_metric_that_rules_need_is_there(address: str, tls: ssl.SSLContext) -> None:
    deadline = time.monotonic() + LIMIT_S
    while missing := [name for name in expressions.required() if not series(address, tls, f"count({name})")]:
        assert time.monotonic() < deadline, missing
        time.sleep(2)
