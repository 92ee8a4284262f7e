"""All dashboards. `monitoring.grafana` makes Grafana's JSON of them."""

from monitoring.boards.images import INGEST, ROUTING
from monitoring.boards.model import Board, Panel, Query
from monitoring.boards.site import OBJECTIVES, OVERVIEW
from monitoring.boards.stores import ARCHIVE, DATABASE, STORAGE

BOARDS = (OVERVIEW, INGEST, STORAGE, DATABASE, ARCHIVE, ROUTING, OBJECTIVES)

__all__ = ["BOARDS", "Board", "Panel", "Query"]
