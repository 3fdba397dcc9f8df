"""Settings that are wrong together, for `run` and for `deploy`."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.flows.definition import read_flow
from imagewarehouse.flows.settings import check_listeners, without_effect
from imagewarehouse.resources import FLOW
from imagewarehouse.standalone.runner import Options, Runner

DECLARED = {name: parameter.value for name, parameter in read_flow(FLOW).parameters.items()}


def test_two_listeners_with_one_port_are_told_as_such() -> None:
    flow = read_flow(FLOW)
    check_listeners(flow, DECLARED)
    with pytest.raises(ConfigurationError) as caught:
        check_listeners(flow, DECLARED | {"http.classify.port": DECLARED["http.images.port"]})
    assert {"http.images.port", "http.classify.port"} <= set(str(caught.value).replace("(", " ").split())
    assert "is also the port of" in str(caught.value)


@pytest.mark.parametrize("path", ["/a/b", "a/b/", "/"])
def test_a_path_with_a_slash_around_it_is_refused(path: str) -> None:
    """The listener would answer at //a/b."""
    with pytest.raises(ConfigurationError, match="http.images.path"):
        check_listeners(read_flow(FLOW), DECLARED | {"http.images.path": path})
    check_listeners(read_flow(FLOW), DECLARED | {"http.images.path": "a/b"})


def test_run_checks_them_as_well(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is also the port of"):
        Runner(Options(data=tmp_path, settings=(("http.classify.port", "8081"), ("http.images.port", "8081"))), {})


def test_months_to_keep_without_kudu_are_told() -> None:
    assert without_effect(DECLARED) == []
    [line] = without_effect(DECLARED | {"kudu.keep.months": "24"})
    assert line.startswith("kudu.keep.months does nothing without kudu.masters")
    assert without_effect(DECLARED | {"kudu.keep.months": "24", "kudu.masters": "kudu-1:7051"}) == []


@pytest.mark.parametrize(("written", "who"), [("4711", "another run, process 4711"), ("", "another run")])
def test_a_data_folder_in_use_names_the_process(tmp_path: Path, written: str, who: str) -> None:
    with (tmp_path / "lock").open("w") as lock:
        lock.write(written)
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConfigurationError, match=f"in use by {who}$"):
            Runner(Options(data=tmp_path), {}).open()
