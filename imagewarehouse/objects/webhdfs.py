"""The calls of WebHDFS that a store needs, which HttpFS takes as well.

Source: https://hadoop.apache.org/docs/stable/hadoop-project-dist/hadoop-hdfs/WebHDFS.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.objects.settings import StoreSettings

Status = Mapping[str, Any]
"""FileStatus: pathSuffix, type, length, modificationTime (ms), fileId."""

_MISSING = "FileNotFoundException"
_NEXT = ("StandbyException", "RetriableException")  # another NameNode is the active one


class RemoteError(Exception):
    """HDFS answered, and with an exception. `name` is its class in Java, or the status where the body says none."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}" if message else name)
        self.name = name


class WebHdfs:
    """One HDFS, over one of its NameNodes. Thread-safe. Raises RemoteError, OSError (the errors of requests are some)."""

    def __init__(
        self, addresses: Sequence[str], user: str, auth: str, settings: StoreSettings, connections: int
    ) -> None:
        """`addresses`: URLs of NameNodes. `auth`: "" or kerberos. Raises ConfigurationError: a client is missing."""
        try:
            from requests import Session
            from requests.adapters import HTTPAdapter
        except ImportError as err:
            problem = (
                "HDFS over HTTP needs the client requests: `make nar STORES=hdfs`, or install imagewarehouse[hdfs]"
            )
            raise ConfigurationError("Store URI", problem) from err
        self._addresses = list(addresses)
        self._session = Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=connections))
        if settings.ca_file:
            self._session.verify = settings.ca_file
        self._timeout = (settings.connect_s, settings.answer_s)
        self._login: dict[str, str] = {}
        if auth == "kerberos":
            self._session.auth = _kerberos()
        elif auth:
            raise ConfigurationError("Store URI", f"auth: expected kerberos, received {auth[:40]!r}")
        elif settings.session_token:
            self._login = {"delegation": settings.session_token}
        else:
            self._login = {"user.name": user}

    def close(self) -> None:
        self._session.close()

    def status(self, path: str) -> Status | None:
        try:
            status: Status = self._json("GET", path, "GETFILESTATUS")["FileStatus"]
        except RemoteError as err:
            if err.name == _MISSING:
                return None
            raise
        return status

    def list(self, path: str) -> Sequence[Status]:
        """Empty for a folder that is not there."""
        try:
            found: Sequence[Status] = self._json("GET", path, "LISTSTATUS")["FileStatuses"]["FileStatus"]
        except RemoteError as err:
            if err.name == _MISSING:
                return []
            raise
        return found

    def make_folder(self, path: str) -> None:
        self._json("PUT", path, "MKDIRS")

    def delete(self, path: str) -> None:
        self._json("DELETE", path, "DELETE")

    def rename(self, path: str, target: str) -> bool:
        """False where something has that name, or its folder is not there."""
        return bool(self._json("PUT", path, "RENAME", destination=target)["boolean"])

    def write(self, path: str, content: bytes) -> None:
        """A new file. The NameNode says which DataNode takes the bytes."""
        told = self._call("PUT", path, "CREATE", {"overwrite": "false"}, follow=False)
        where = told.headers.get("Location")
        if where is None:
            raise RemoteError(f"HTTP {told.status_code}", "it does not say where to write")
        answer = self._session.put(
            where, data=content, headers={"Content-Type": "application/octet-stream"}, timeout=self._timeout
        )
        _check(answer)

    def read(self, path: str, start: int, length: int) -> bytes:
        answer = self._call("GET", path, "OPEN", {"offset": str(start), "length": str(length)})
        content: bytes = answer.content
        return content

    def _json(self, method: str, path: str, operation: str, **given: str) -> Any:
        answer = self._call(method, path, operation, given)
        return answer.json() if answer.content else {}

    def _call(self, method: str, path: str, operation: str, given: Mapping[str, str], follow: bool = True) -> Any:
        parameters = {"op": operation, **given, **self._login}
        for address in (addresses := list(self._addresses)):
            last = address == addresses[-1]
            try:
                answer = self._session.request(
                    method, f"{address}/webhdfs/v1{quote(path)}", params=parameters, timeout=self._timeout,
                    allow_redirects=follow,
                )  # fmt: skip
                _check(answer)
            except RemoteError as err:
                if last or err.name not in _NEXT:
                    raise
            except OSError:
                if last:
                    raise
            else:
                if address != self._addresses[0]:  # that one first from now on
                    self._addresses = [address, *(other for other in addresses if other != address)]
                return answer
        raise AssertionError("there is an address")


def _check(answer: Any) -> None:
    """Raises RemoteError."""
    if answer.status_code < 400:
        return
    try:
        told = answer.json()["RemoteException"]
        raise RemoteError(told["exception"], str(told.get("message", "")).partition("\n")[0])
    except (ValueError, KeyError, TypeError):
        raise RemoteError(f"HTTP {answer.status_code}", str(answer.reason)) from None


def _kerberos() -> Any:
    try:
        from requests_kerberos import OPTIONAL, HTTPKerberosAuth
    except ImportError as err:
        problem = "HDFS with Kerberos needs requests-kerberos: install imagewarehouse[hdfs,kerberos] on the node"
        raise ConfigurationError("Store URI", problem) from err
    return HTTPKerberosAuth(mutual_authentication=OPTIONAL)
