"""The settings of a site's monitoring: how long numbers are kept, and who gets which alert."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import ByteSize, Field

from hapacs.settings.base import Model
from hapacs.settings.fields import GroupWord, HttpUrl, LoginName, MailAddress, Port, Size
from hapacs_node.routing.fields import Host, Name


class MailServer(Model):
    """The hospital's mail server.

    Attributes
    ----------
    sender
        Address that the mails come from.
    user, credentials
        Login, and the name of its password in the secret `hapacs_secret_monitoring`. Not given: no login.
    starttls
        Whether the server has to offer TLS (RFC 3207). Without it no login is sent.
    """

    host: Host
    port: Port = 587
    sender: MailAddress
    user: LoginName | None = None
    credentials: Name | None = None
    starttls: Annotated[bool, Field(strict=True)] = True


class Receiver(Model):
    """Who gets an alert: people by e-mail, or another system by a webhook.

    Attributes
    ----------
    mail
        Addresses.
    webhook
        Alertmanager posts its JSON to this address.
    credentials
        Name of the webhook's bearer token in the secret `hapacs_secret_monitoring`.
    """

    mail: tuple[MailAddress, ...] = ()
    webhook: HttpUrl | None = None
    credentials: Name | None = None


class Monitoring(Model):
    """Two Prometheus and two Alertmanagers, on the first two nodes of the group `monitoring`.

    Attributes
    ----------
    retention_days, retention_bytes
        What is older, or more than so much, is removed; on each of the two.
    mail_server
        Needed when a receiver has addresses.
    receivers
        By name.
    page, ticket
        Receivers of alerts that wake somebody, and of those that can wait for the morning. Not given: alerts are shown
        by Alertmanager only.
    watchdog
        Receivers outside of the site that expect a message every few minutes, and raise the alarm when none comes.
    """

    retention_days: Annotated[int, Field(strict=True, ge=1, le=3650)] = 400
    retention_bytes: Annotated[Size, Field(ge=256 * 1024**2)] = ByteSize(10 * 1024**3)
    mail_server: MailServer | None = None
    receivers: Mapping[GroupWord, Receiver] = Field(default_factory=dict)
    page: tuple[GroupWord, ...] = ()
    ticket: tuple[GroupWord, ...] = ()
    watchdog: tuple[GroupWord, ...] = ()
