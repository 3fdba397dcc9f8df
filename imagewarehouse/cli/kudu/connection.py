"""The Kudu cluster of a command, and a connection to it with one-line errors."""

from __future__ import annotations

import difflib
import json
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagewarehouse.cli.kudu.tablets import MASTER_WEB_PORT
from imagewarehouse.errors import ConfigurationError, KuduTableMissing, KuduUnavailable
from imagewarehouse.kudu.clients.connecting import connect
from imagewarehouse.kudu.clients.interface import KuduSettings, KuduWriter


@dataclass(frozen=True, slots=True)
class Cluster:
    """Which Kudu, and how to ask it. `web`: addresses of web pages, of masters or of tablet servers."""

    masters: str
    web: tuple[str, ...]
    backend: str
    timeout: float

    @contextmanager
    def connect(self, table: str | None = None) -> Iterator[KuduWriter]:
        """A client of this cluster. Where `table` is missing, the error suggests similar names.

        Raises ConfigurationError or KuduUnavailable with one line that people understand.
        """
        try:
            settings = KuduSettings(
                self.masters, self.backend, operation_timeout_s=self.timeout, admin_timeout_s=self.timeout
            )
        except ConfigurationError as err:
            raise ConfigurationError("--masters", err.problem) from err
        probe(settings.addresses, self.timeout)  # the clients try for all of their time, and say little in many words
        try:
            writer = connect(settings)
            try:
                yield writer
            except KuduTableMissing as err:
                if table is None:
                    raise
                raise _missing_table(table, writer.tables()) from err
            finally:
                writer.close()
        except KuduUnavailable as err:
            raise KuduUnavailable(readable(str(err), self.masters, self.timeout)) from err


def find_cluster(
    masters: str | None, data: Path, backend: str, timeout: float, *, web: tuple[str, ...] = ()
) -> Cluster:
    """The Kudu of `masters`, else the local one of `data`. Raises ConfigurationError."""
    local, local_web = _local_master(data / "kudu")
    if not masters:
        if not local:
            raise ConfigurationError("--masters", f"is needed: no Kudu has ever run in {data / 'kudu'}")
        if _unreachable(local, 1.0):
            raise ConfigurationError("--masters", f"is needed: the Kudu in {data / 'kudu'} does not run now")
        masters = local
    if not web and masters == local:
        web = (local_web,)
    elif not web:
        hosts = [re.sub(r":\d+$", "", address.strip()) for address in masters.split(",")]
        web = tuple(f"{host}:{MASTER_WEB_PORT}" for host in hosts)
    return Cluster(masters, web, backend, timeout)


def _local_master(folder: Path) -> tuple[str, str]:
    """Addresses (RPC, web) of a local Kudu's master, as it has written them down; empty where none has ever run."""
    try:
        rpc, web = json.loads((folder / "ports.json").read_text("utf-8"))["master"]
        return f"127.0.0.1:{int(rpc)}", f"127.0.0.1:{int(web)}"
    except (OSError, ValueError, KeyError, TypeError):
        return "", ""


def probe(addresses: Sequence[str], timeout: float) -> None:
    """Raises KuduUnavailable when none of the masters takes a connection."""
    reasons = []
    for address in addresses:
        reason = _unreachable(address, timeout / len(addresses))
        if not reason:
            return
        reasons.append(f"{address} ({reason})")
    raise KuduUnavailable(f"no master of Kudu answers at {', '.join(reasons)}")


def _unreachable(address: str, timeout: float) -> str:
    """Why an address takes no connection; empty when it does."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout).close()
    except TimeoutError:
        return f"no answer within {timeout:.2g} s"
    except (OSError, UnicodeError) as err:
        return getattr(err, "strerror", None) or str(err) or type(err).__name__
    return ""


def readable(text: str, masters: str, timeout: float) -> str:
    """The message of a client that cannot reach Kudu, without its call trace."""
    if re.search(r"timed out|before timeout", text, re.IGNORECASE):
        return f"Kudu at {masters} did not answer within {timeout:g} s"
    return re.sub(r"\bExceptions received: \[?(?:org\.[\w.]+: )?|\s*KuduRpc\(.*|\]$", "", text)


def _missing_table(table: str, names: Sequence[str]) -> ConfigurationError:
    close = difflib.get_close_matches(table, names, 3, 0.6)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(names[:10]) or 'none at all'}"
    return ConfigurationError("TABLE", f"Kudu has no table {table}; {hint}")
