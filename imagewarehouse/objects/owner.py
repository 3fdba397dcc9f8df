"""Which table of places knows the packs of a store.

Two tables over one store (each node of a cluster with rows of its own, say) would both take the other's pictures for new ones,
move them, and remove them from where the other looks. So the first compaction leaves the table's identity in the store.
"""

from __future__ import annotations

import uuid

from imagewarehouse.errors import ConfigurationError, ObjectMissing
from imagewarehouse.objects.store import ObjectStore
from imagewarehouse.places import Locations

OWNER = "compaction/warehouse"
ITSELF = "warehouse"
"""In the table, where an image_id stands in other lines: its identity is in the place of a place."""


def claim(store: ObjectStore, locations: Locations, *, adopt: bool = False, look_only: bool = False) -> None:
    """Raises ConfigurationError: the packs in this store are known to another table. `adopt`: they are this one's from now on.

    `look_only`: nothing is written, neither into the store nor into the table.
    """
    identity = _identity(locations, look_only=look_only)
    if not look_only and store.put_if_absent(OWNER, identity.encode()):
        return
    try:
        there = store.get(OWNER).decode("ascii", "replace")
    except ObjectMissing:
        return
    if there == identity:
        return
    if not adopt:
        raise ConfigurationError(
            "--store",
            f"the places of the packs in {store.location} are in another table than the one beside these rows; give the rows"
            " that belong to it. If that table is lost, --adopt --full fills this one out of the packs",
        )
    if not look_only and (old := store.stat(OWNER)) is not None:
        store.replace(OWNER, identity.encode(), old)


def _identity(locations: Locations, *, look_only: bool) -> str:
    known = locations.find([ITSELF])
    if not known and not look_only:
        locations.add({ITSELF: str(uuid.uuid4())})
        known = locations.find([ITSELF])  # of several processes at once, the first has said it
    return known[ITSELF].uri if known else ""
