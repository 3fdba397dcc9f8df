"""Which nodes there are to be asked, and in which order."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError

from imagewarehouse.errors import SolrUnavailable
from imagewarehouse.solr.settings import SolrSettings
from imagewarehouse.text import one_line

_PASSED_OVER_S = 30.0  # how long a node that did not answer is asked last
_VALID_S = 60.0  # how long what ZooKeeper said is taken for true, unless a node fails
_NODE = re.compile(r"^(.+:\d+)_")  # host:8983_solr, and a host may have a _ too
_UNLIMITED_S = 60.0  # for a client that needs a number

log = logging.getLogger("imagewarehouse.solr")


class Nodes:
    """The nodes of one Solr as base URLs, http://host:8983/solr. Thread-safe."""

    def __init__(self, find: Callable[[str], Sequence[str]], valid_s: float | None) -> None:
        """`find`: the nodes for a collection, best first. `valid_s`: when it is asked again; None: never."""
        self._find = find
        self._valid_s = valid_s
        self._lock = threading.Lock()
        self._found: dict[str, tuple[float, Sequence[str]]] = {}
        self._failed: dict[str, float] = {}

    def of(self, collection: str, turn: int = 0) -> list[str]:
        """Those to ask for a collection, one after the other; whoever failed lately comes last. Raises SolrUnavailable.

        `turn`: how many of the first are asked behind the others.
        """
        now = time.monotonic()
        with self._lock:
            at, nodes = self._found.get(collection, (0.0, ()))
        if not nodes or (self._valid_s is not None and now - at > self._valid_s):
            nodes = self._find(collection)
        with self._lock:
            self._found[collection] = (now, nodes)
            turned = [*nodes[turn % len(nodes) :], *nodes[: turn % len(nodes)]]
            return sorted(turned, key=lambda node: self._failed.get(node, 0.0) > now)

    def failed(self, node: str) -> None:
        with self._lock:
            self._failed[node] = time.monotonic() + _PASSED_OVER_S
            if self._valid_s is not None:
                self._found.clear()  # ZooKeeper knows by now, or soon

    def answered(self, node: str) -> None:
        if node in self._failed:
            with self._lock:
                self._failed.pop(node, None)


def nodes_of(settings: SolrSettings) -> Nodes:
    address = settings.address
    if address.urls:
        return Nodes(lambda collection: address.urls, None)
    wait_s = settings.connect_s or _UNLIMITED_S
    return Nodes(lambda collection: ask_zookeeper(address.zookeeper, collection, wait_s), _VALID_S)


def ask_zookeeper(address: str, collection: str, wait_s: float) -> list[str]:
    """The nodes that are alive: first those with a leader of the collection, then those with another replica, then all others.

    Asked once a minute, and when a node fails, so no connection is kept for it. Raises SolrUnavailable.
    """
    client = KazooClient(address, timeout=wait_s, read_only=True, logger=_quiet)
    try:
        client.start(timeout=wait_s)
        alive = set(client.get_children("/live_nodes"))
        scheme = _read(client, "/clusterprops.json").get("urlScheme", "http")
        aliases = _read(client, "/aliases.json").get("collection", {})
        ranks: dict[str, int] = {}
        for name in str(aliases.get(collection, collection)).split(","):
            state = _read(client, f"/collections/{name}/state.json").get(name, {})
            for shard in state.get("shards", {}).values():
                for replica in shard.get("replicas", {}).values():
                    rank = 0 if replica.get("leader") == "true" else 1
                    ranks[replica["node_name"]] = min(rank, ranks.get(replica["node_name"], 2))
    except (KazooException, KazooTimeoutError, OSError, ValueError, KeyError, AttributeError) as err:
        raise SolrUnavailable(f"ZooKeeper at {address} did not say where Solr is: {one_line(err)}") from err
    finally:
        client.stop()
        client.close()
    if not alive:
        raise SolrUnavailable(f"ZooKeeper at {address} knows no node of Solr that is alive")
    ordered = sorted(alive, key=lambda node: (ranks.get(node, 2), node))
    return [f"{scheme}://" + _NODE.sub(r"\1/", node) for node in ordered]


def _read(client: KazooClient, path: str) -> dict[str, Any]:
    try:
        value = json.loads(client.get(path)[0] or b"{}")
    except NoNodeError:
        return {}
    return value if isinstance(value, dict) else {}


_quiet = logging.getLogger("imagewarehouse.solr.zookeeper")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False  # it says at length what SolrUnavailable says in a line
