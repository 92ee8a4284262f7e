"""The Watchdog of the other site: a message that comes while the monitoring there works.

Alertmanager's format of webhooks, version 4: prometheus.io/docs/alerting/latest/configuration, "webhook_config".
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from hapacs_node.catalog import site
from hapacs_node.catalog.database import Database
from hapacs_node.errors import NodeError


class _Labels(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    alertname: Literal["Watchdog"]


class _Alert(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    status: Literal["firing"]
    labels: _Labels


class Message(BaseModel):
    """What an Alertmanager of the other site sends: the Watchdog, and no other alert.

    Attributes
    ----------
    alerts
        One for each label set; Prometheus gives one.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    alerts: tuple[_Alert, ...] = Field(min_length=1, max_length=100)


def hear(database: Database, content: bytes) -> dict[str, object]:
    """Note that the Watchdog came.

    Raises
    ------
    ValidationError
        When the message is another one.
    NodeError
        When it can't be noted, or this site has no other one.
    """
    Message.model_validate_json(content)
    if not database.run(site.watched):
        raise NodeError("copies are not switched on here")
    return {}
