"""Free ports of this machine, for servers that are started, stopped and started again."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection
from pathlib import Path

from imagewarehouse.errors import ConfigurationError

HOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether nobody listens on it at this moment."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended do not count
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_ports(number: int, besides: Collection[int] = ()) -> list[int]:
    """Free ports that are not in `besides`.

    They lie below those that the system gives to outgoing connections: while a server is down to be started again, such a
    connection, even that of a client who keeps trying, would take its port.

    Raises: ConfigurationError when there are not so many.
    """
    try:
        lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        lowest = 32768
    span = range(max(1024, lowest - 16384), lowest) if lowest > 2048 else range(1024, 65536)
    ports: list[int] = []
    for port in random.sample(span, len(span)):
        if len(ports) == number:
            break
        if port not in besides and is_free(port):
            ports.append(port)
    if len(ports) < number:
        raise ConfigurationError("ports", f"fewer than {number} are free on {HOST}")
    return ports
