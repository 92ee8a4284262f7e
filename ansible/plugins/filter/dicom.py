# SPDX-License-Identifier: AGPL-3.0-or-later
"""Filters that put DICOM into the configuration of HAProxy and Orthanc."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hapacs import ae_titles

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# What a caller may do with the storing title, as Orthanc's options have it, and with the query/retrieve title.
PERMISSIONS = {"echo": "AllowEcho", "store": "AllowStore"}
RETRIEVING = ("echo", "find", "get", "move", "worklist")
ALL_PERMISSIONS = (
    *PERMISSIONS.values(),
    "AllowFind",
    "AllowGet",
    "AllowMove",
    "AllowFindWorklist",
    "AllowStorageCommitment",
    "AllowNAction",
    "AllowNEventReport",
)


def orthanc_modalities(callers: Sequence[Mapping[str, Any]], health_ae: str) -> dict[str, dict[str, Any]]:
    """Make Orthanc's ``DicomModalities`` of the site's callers, for the service that stores.

    Each permission is spelled out, since Orthanc allows what isn't mentioned.

    Parameters
    ----------
    callers
        ``{ae_title, may: [...]}``.
    health_ae
        The title with which the balancer asks whether the service answers: it may do no more.

    Returns
    -------
    dict
        By a symbolic name of letters, digits, _ and -, which are all that Orthanc takes there.
    """
    modalities: dict[str, dict[str, Any]] = {}
    for caller in [*callers, {"ae_title": health_ae, "may": ["echo"]}]:
        name = re.sub(r"[^A-Za-z0-9_-]", "_", caller["ae_title"])
        # Two titles, such as "CT 1" and "CT#1", may come to the same name.
        while name in modalities:
            name += "_"
        granted = {PERMISSIONS[what] for what in caller["may"] if what in PERMISSIONS}
        modalities[name] = {
            "AET": caller["ae_title"],
            # Orthanc wants an address even of those to whom it sends nothing: one that refuses at once.
            "Host": "127.0.0.1",
            "Port": 1,
            **{permission: permission in granted for permission in ALL_PERMISSIONS},
            "UseDicomTls": False,
        }
    return modalities


def dimse_callers(callers: Sequence[Mapping[str, Any]], health_ae: str) -> list[dict[str, Any]]:
    """Make the callers of the query/retrieve title, as our plugin reads them.

    Parameters
    ----------
    callers
        ``{ae_title, may: [...], host?, port?}``.
    health_ae
        The title with which the balancer asks whether the service answers: it may do no more.
    """
    return [
        {
            "Title": caller["ae_title"].strip(),
            "May": [what for what in RETRIEVING if what in caller["may"]],
            **({"Host": caller["host"], "Port": caller["port"]} if caller.get("host") else {}),
        }
        for caller in [*callers, {"ae_title": health_ae, "may": ["echo"]}]
    ]


def quoted_for_haproxy(text: str) -> str:
    """Quote a text so that HAProxy's configuration has it as one word, whatever its characters.

    Between single quotes nothing has a meaning but the single quote itself (HAProxy's manual, section 2.2).
    """
    quoted = text.replace("'", "'\\''")
    return f"'{quoted}'"


def ae_title_problems(
    callers: Sequence[Mapping[str, Any]], own: Mapping[str, str], health_ae: str = ae_titles.HEALTH_CHECK
) -> list[str]:
    """Return what is wrong with the titles of a site and its callers, by the rule that the settings have as well.

    Parameters
    ----------
    callers
        ``{ae_title, ...}``.
    own
        The site's own titles, by the variable that holds them.
    health_ae
        The calling title of the balancer's health check.
    """
    uses = [*own.items(), *((f"caller {number}", caller["ae_title"]) for number, caller in enumerate(callers, 1))]
    unsound = [f"{where}: {problem}" for where, title in uses if (problem := ae_titles.problem(title))]
    return [*unsound, *(f"{where}: {message}" for where, message in ae_titles.clashes(uses, health_ae))]


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "orthanc_modalities": orthanc_modalities,
            "dimse_callers": dimse_callers,
            "quoted_for_haproxy": quoted_for_haproxy,
            "ae_title_problems": ae_title_problems,
        }
