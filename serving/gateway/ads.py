"""What the routes of ads need besides the store: who takes orders, who carries out decisions, and what is shown.

Rows only, over one database; every call takes the owner's id.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pipelines.directions import Directions
from pipelines.steps import Artifacts
from pipelines.store.catalogue import Catalogue
from pipelines.store.database import Database
from pipelines.store.directions import DirectionStore
from pipelines.store.disposal import Disposal
from pipelines.store.groups import GroupStore
from pipelines.store.intake import Intake
from pipelines.store.quotas import Quota
from serving.ad_order import AdPlanner


class ArtifactFolder(Artifacts, Protocol):
    """The artifact store, as its files are deleted (`pipelines.store.artifacts`)."""

    def remove(self, sha256: str, unused_since: datetime) -> bool: ...


@dataclass(frozen=True)
class Ads:
    planner: AdPlanner
    intake: Intake
    catalogue: Catalogue
    directions: Directions
    groups: GroupStore
    disposal: Disposal
    files: ArtifactFolder


def open_ads(database: Database, files: ArtifactFolder, planner: AdPlanner, quota: Quota | None = None) -> Ads:
    """All of it on one database. `quota` of each owner; None: no bound."""
    return Ads(
        planner=planner,
        intake=Intake(database, quota),
        catalogue=Catalogue(database),
        directions=Directions(DirectionStore(database), files),
        groups=GroupStore(database),
        disposal=Disposal(database),
        files=files,
    )
