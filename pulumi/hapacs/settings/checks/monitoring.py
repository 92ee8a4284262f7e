"""Checks of who gets which alert: each receiver exists, says how it is reached, and gets something."""

from collections.abc import Iterator

from hapacs.settings.models import Site
from hapacs.settings.monitoring import MailServer, Receiver
from hapacs.settings.problem import Problem, each


def of_site(path: str, site: Site) -> Iterator[Problem]:
    """Yield the problems of the monitoring of a site."""
    yield from _names(f"{path}.monitoring", site)
    yield from _receivers(f"{path}.monitoring", site)
    yield from _mail_server(f"{path}.monitoring", site)


@each
def _names(path: str, site: Site) -> Iterator[Problem]:
    monitoring = site.monitoring
    used = {"page": monitoring.page, "ticket": monitoring.ticket, "watchdog": monitoring.watchdog}
    for field, names in used.items():
        for name in names:
            if name not in monitoring.receivers:
                yield Problem(f"{path}.{field}", f"there is no receiver {name}; add it to monitoring.receivers")
    for name in monitoring.receivers:
        if not any(name in names for names in used.values()):
            yield Problem(
                f"{path}.receivers.{name}", "gets no alert; name it in page, ticket or watchdog, or remove it"
            )


@each
def _receivers(path: str, site: Site) -> Iterator[Problem]:
    for name, receiver in site.monitoring.receivers.items():
        yield from _receiver(f"{path}.receivers.{name}", receiver, site.monitoring.mail_server)


@each
def _receiver(path: str, receiver: Receiver, server: MailServer | None) -> Iterator[Problem]:
    if bool(receiver.mail) == bool(receiver.webhook):
        yield Problem(path, "needs either mail (addresses) or webhook (an address of HTTP); give one of them")
    if receiver.mail and server is None:
        yield Problem(f"{path}.mail", "needs a mail server; give monitoring.mail_server")
    if receiver.credentials and not receiver.webhook:
        yield Problem(f"{path}.credentials", "is for a webhook; remove it, or give monitoring.mail_server.credentials")


@each
def _mail_server(path: str, site: Site) -> Iterator[Problem]:
    server = site.monitoring.mail_server
    if server and (server.user is None) != (server.credentials is None):
        yield Problem(f"{path}.mail_server", "user and credentials belong together; give both or none")
    if server and server.user and not server.starttls:
        yield Problem(
            f"{path}.mail_server.starttls", "a login is never sent without TLS; remove user, or starttls: false"
        )
