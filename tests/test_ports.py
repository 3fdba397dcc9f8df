"""Ports for servers that are started again: free, apart, and none where there are none."""

from __future__ import annotations

import socket

import pytest

from imagewarehouse import ports
from imagewarehouse.errors import ConfigurationError


def test_free_ports_are_free_and_differ() -> None:
    found = ports.free_ports(20)
    assert len(set(found)) == 20
    assert all(map(ports.is_free, found))


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    with socket.create_server((ports.HOST, 0)) as server:
        assert not ports.is_free(server.getsockname()[1])


def test_ports_that_are_taken_or_meant_for_something_else_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other, third = ports.free_ports(3)
    monkeypatch.setattr(ports, "is_free", {one, other}.__contains__)
    assert ports.free_ports(1, besides=[one]) == [other]
    with pytest.raises(ConfigurationError, match="fewer than 2"):
        ports.free_ports(2, besides=[other, third])
