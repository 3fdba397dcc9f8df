"""pysolr on all nodes of a Solr, with our errors.

pysolr sends everything by one method, and what it raises is a text. So that method is the one that is replaced: the next node
is asked where one does not answer, and whatever goes wrong is told by its type.

Imported only where there is an address: pysolr, requests and kazoo take 7 MB.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import orjson
import pysolr
import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from imagewarehouse.errors import ConfigurationError, SolrUnavailable
from imagewarehouse.solr.answers import Refusal, error_of, json_object
from imagewarehouse.solr.nodes import Nodes, nodes_of
from imagewarehouse.solr.settings import Params, SolrSettings, checked_name
from imagewarehouse.text import one_line

JSON = "application/json"

# Another node may do better at once. (500: a fault of this one's; 503: no core yet, or a shard without a leader.)
_ASK_THE_NEXT = (500, 502, 503, 504)


class Solr:
    """All nodes of a Solr. Thread-safe."""

    def __init__(self, settings: SolrSettings) -> None:
        """Raises ConfigurationError: a library or a file cannot be used."""
        self.settings = settings
        self.nodes: Nodes = nodes_of(settings)
        self._session = _session(settings)
        self._lock = threading.Lock()
        self._collections: dict[str, Collection] = {}

    def collection(self, name: str = "") -> Collection:
        """The collection of that name, or of the address. Raises ConfigurationError: it is no name."""
        name = name or self.settings.address.collection
        if not name:
            raise ConfigurationError("Collection", "is empty, and the address names none")
        with self._lock:
            if name not in self._collections:
                if len(self._collections) >= _MOST_COLLECTIONS:
                    self._collections.clear()
                self._collections[name] = Collection(self, checked_name(name, "Collection"))
            return self._collections[name]

    def send(
        self,
        method: str,
        collection: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        *,
        repeatable: bool,
        turn: int = 0,
    ) -> bytes:
        """The content of an answer with 200.

        Args: path: below the collection, with its parameters. repeatable: it may be done twice, so that another node is asked
            also where this one may have done it.
        Raises: SolrUnavailable and its kinds; Refusal.
        """
        failure: SolrUnavailable | None = None
        for node in self.nodes.of(collection, turn):
            where = f"{node}/{collection}"
            try:
                answer = self._session.request(
                    method,
                    f"{node}/{quote(collection)}/{path}",
                    data=body,
                    headers=dict(headers),
                    timeout=(self.settings.connect_s, self.settings.answer_s),
                    allow_redirects=False,  # it would take login and documents elsewhere
                    verify=self.settings.ca_file or True,
                )
            except requests.RequestException as err:
                self.nodes.failed(node)
                failure = SolrUnavailable(f"{where} did not answer: {_reason(err)}")
                failure.__cause__ = err
                if not (repeatable or _never_sent(err)):
                    raise failure from err
                continue
            if answer.status_code == 200:
                self.nodes.answered(node)
                return answer.content
            error, answered = error_of(answer.status_code, answer.content, where)
            if not isinstance(error, SolrUnavailable):
                self.nodes.answered(node)
                raise Refusal(error, answered)
            failure = error
            if answer.status_code not in _ASK_THE_NEXT or not repeatable:
                raise failure
            self.nodes.failed(node)
        assert failure is not None
        raise failure

    def admin(self, path: str, body: bytes | None = None, /, **params: str | int) -> Mapping[str, Any]:
        """What `admin/PATH` answers; with `body` (bytes of any kind) it is posted.

        Raises SolrUnavailable, SolrRefused.
        """
        query = urlencode({**params, "wt": "json"})
        headers = {} if body is None else {"Content-Type": "application/octet-stream"}
        try:
            method = "GET" if body is None else "POST"
            return json_object(self.send(method, "admin", f"{path}?{query}", body, headers, repeatable=False))
        except Refusal as err:
            raise err.error from err

    def close(self) -> None:
        self._session.close()


_MOST_COLLECTIONS = 200  # a name may come from an attribute


class Collection(pysolr.Solr):  # type: ignore[misc]
    """One collection. pysolr's own methods (`search`, `add`...) work as its documentation says, but for what they raise.

    `reports`: whether its answers say which updates were done (its update log is on); `cloud`: whether a node may hand
    updates on to others. None: not known yet.
    """

    def __init__(self, solr: Solr, name: str) -> None:
        super().__init__(f"{solr.settings.address.urls[0] if solr.settings.address.urls else 'zookeeper:'}/{name}")
        self.solr = solr
        self.name = name
        self.reports: bool | None = None
        self.cloud: bool | None = True if solr.settings.address.zookeeper else None

    def ask(self, path: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Solr's answer to a request in JSON, such as its JSON Request API takes at `select`.

        Raises SolrUnavailable, SolrRefused.
        """
        try:
            return json_object(self.post(path, orjson.dumps(request), params=[("wt", "json")]))
        except Refusal as err:
            raise err.error from err

    def look(self, path: str, **params: str | int) -> Mapping[str, Any]:
        """What a path answers to a GET, such as `schema`. Raises SolrUnavailable, SolrRefused."""
        return json_object(self._send_request("get", f"{path}?{urlencode({**params, 'wt': 'json'})}").encode())

    def post(
        self,
        path: str,
        body: bytes,
        *,
        content_type: str = JSON,
        params: Params = (),
        repeatable: bool = True,
        turn: int = 0,
    ) -> bytes:
        """The content of Solr's answer. Raises SolrUnavailable, Refusal."""
        query = f"?{urlencode(params)}" if params else ""
        headers = {"Content-Type": content_type}
        return self.solr.send("POST", self.name, path + query, body, headers, repeatable=repeatable, turn=turn)

    def _send_request(
        self, method: str, path: str = "", body: Any = None, headers: Any = None, files: Any = None
    ) -> str:
        """What pysolr sends everything by. Raises SolrUnavailable, SolrRefused."""
        if files is not None:
            raise NotImplementedError("files are posted by `post`, with their type")
        content = body.encode() if isinstance(body, str) else body
        try:
            return self.solr.send(method.upper(), self.name, path, content, headers or {}, repeatable=True).decode()
        except Refusal as err:
            raise err.error from err


def _session(settings: SolrSettings) -> requests.Session:
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=settings.connections, pool_block=True))
    if settings.kerberos:
        session.auth = _kerberos()
    elif settings.user:
        login: Any = (settings.user.encode(), settings.password.encode())  # as text it would go as latin-1
        session.auth = login
    if settings.certificate:
        session.cert = (settings.certificate, settings.key) if settings.key else settings.certificate
    return session


def _kerberos() -> Any:
    try:
        from requests_kerberos import OPTIONAL, HTTPKerberosAuth
    except ImportError as err:
        problem = "needs requests-kerberos: install imagewarehouse[kerberos] on the node"
        raise ConfigurationError("Kerberos", problem) from err
    return HTTPKerberosAuth(mutual_authentication=OPTIONAL)


def _never_sent(err: requests.RequestException) -> bool:
    reason = getattr(err.args[0] if err.args else None, "reason", None)
    return isinstance(err, requests.ConnectTimeout) or isinstance(reason, (NewConnectionError, ConnectTimeoutError))


def _reason(err: requests.RequestException) -> str:
    cause = getattr(err.args[0], "reason", None) if err.args else None
    return one_line(cause or err)
