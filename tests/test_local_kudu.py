"""A Kudu on this machine: up quickly, the same after any crash, and never left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.standalone import local_kudu
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests.conftest import until
from tests.running import Service

# Owns a cluster and says so, then waits to be killed.
OWNER = """
import sys, time
from pathlib import Path
from imagewarehouse.standalone.local_kudu import LocalKudu
kudu = LocalKudu(Path(sys.argv[1]), never_fsync=True)
print("starting", flush=True)
kudu.start()
print(kudu.pid("master"), kudu.pid("tserver-0"), flush=True)
time.sleep(600)
"""


def own(folder: Path) -> subprocess.Popen[str]:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == "starting\n"
    return owner


def runs(pid: int) -> bool:
    """Whether it is there and more than a name that waits to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def servers_in(folder: Path) -> list[int]:
    """The processes that were started for this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"--fs_wal_dir={folder}".encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def create_table(kudu: LocalKudu, name: str) -> None:
    table = {
        "table_name": name,
        "schema": {
            "columns": [{"column_name": "key", "column_type": "INT32", "is_nullable": False}],
            "key_column_names": ["key"],
        },
        "partition": {"hash_partitions": [{"columns": ["key"], "num_buckets": 2}]},
        "num_replicas": 1,
    }
    kudu.cli("table", "create", kudu.masters, json.dumps(table))


def tables(kudu: LocalKudu) -> list[str]:
    return kudu.cli("table", "list", kudu.masters).split()


def healthy(kudu: LocalKudu) -> bool:
    try:
        return kudu.cli("cluster", "ksck", kudu.masters).rstrip().endswith("OK")
    except ConfigurationError:
        return False


def test_a_started_cluster_is_healthy_and_takes_tables(kudu: LocalKudu) -> None:
    create_table(kudu, "takes_tables")
    assert "takes_tables" in tables(kudu)
    assert until(lambda: healthy(kudu), 30)  # tablets elect a leader first
    assert kudu.dead() == []


def test_its_pages_are_served_with_their_styles(kudu: LocalKudu) -> None:
    for address in (kudu.web(), kudu.web(0)):
        with urllib.request.urlopen(address + "/kudu.css", timeout=10) as answer:  # noqa: S310 - loopback
            assert answer.status == 200


def test_it_listens_on_the_loopback_only(kudu: LocalKudu) -> None:
    number = int(kudu.masters.rpartition(":")[2])
    listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines() if line.split()[3] == "0A"]
    assert [address for address in listening if address.endswith(f":{number:04X}")] == [f"0100007F:{number:04X}"]


def test_a_killed_tablet_server_is_reported_and_comes_back_with_its_tables(kudu: LocalKudu) -> None:
    create_table(kudu, "survives")
    os.kill(kudu.pid("tserver-0"), signal.SIGKILL)
    assert until(lambda: kudu.dead() == ["tserver-0"])
    kudu.kill_tserver()
    assert kudu.dead() == []  # asked for
    kudu.start_tserver()
    assert "survives" in tables(kudu)
    assert until(lambda: healthy(kudu), 30)


def test_a_killed_master_comes_back_on_the_same_address(kudu: LocalKudu) -> None:
    masters = kudu.masters
    kudu.kill_master()
    with pytest.raises(ConfigurationError, match="kudu table list"):
        kudu.cli("table", "list", masters, "-timeout_ms=300")
    kudu.start_master()
    assert kudu.masters == masters
    create_table(kudu, "after_the_master")


def test_a_paused_master_does_not_answer_until_it_goes_on(kudu: LocalKudu) -> None:
    kudu.pause("master")
    try:
        with pytest.raises(ConfigurationError):
            kudu.cli("table", "list", kudu.masters, "-timeout_ms=300", "-negotiation_timeout_ms=300")
    finally:
        kudu.resume("master")
    assert tables(kudu) is not None


@pytest.mark.long
def test_a_server_started_from_a_thread_outlives_it(kudu: LocalKudu) -> None:
    kudu.kill_tserver()
    thread = threading.Thread(target=kudu.start_tserver)
    thread.start()
    thread.join()
    time.sleep(0.3)
    assert kudu.dead() == []
    assert until(lambda: healthy(kudu), 30)  # tablets elect a leader first


@pytest.mark.usefixtures("kudu")  # skips or fails where there are no servers
class TestFolders:
    """What a folder remembers, with clusters of their own."""

    def test_a_second_start_finds_the_tables_on_the_same_ports(self, tmp_path: Path) -> None:
        with LocalKudu(tmp_path) as first:
            create_table(first, "kept")
            address = first.masters
        assert servers_in(tmp_path) == []
        with LocalKudu(tmp_path) as second:
            assert second.masters == address
            assert tables(second) == ["kept"]

    def test_a_taken_port_is_replaced_and_the_tables_stay(self, tmp_path: Path) -> None:
        with LocalKudu(tmp_path, never_fsync=True) as first:
            create_table(first, "kept")
            addresses = [first.masters.rpartition(":")[2], first.web(0).rpartition(":")[2]]
        taken = [socket.create_server(("127.0.0.1", int(port))) for port in addresses]
        try:
            with LocalKudu(tmp_path, never_fsync=True) as second:
                assert second.masters != f"127.0.0.1:{addresses[0]}"
                assert tables(second) == ["kept"]
                assert until(lambda: healthy(second), 30)
        finally:
            for one in taken:
                one.close()

    def test_a_folder_is_used_by_one_at_a_time(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(local_kudu, "_LOCK_S", 0.1)
        with LocalKudu(tmp_path, never_fsync=True) as first:
            with pytest.raises(ConfigurationError, match="in use by another run"):
                LocalKudu(tmp_path).start()
            assert until(lambda: healthy(first), 30)  # tablets elect a leader first

    def test_a_killed_parent_leaves_no_server_and_a_folder_that_starts_again(self, tmp_path: Path) -> None:
        owner = own(tmp_path)
        assert owner.stdout is not None
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(runs, pids))
        owner.kill()
        owner.wait()
        with LocalKudu(tmp_path, never_fsync=True) as again:  # at once: it waits for them to be gone
            assert not any(map(runs, pids))
            assert until(lambda: healthy(again), 30)  # tablets elect a leader first

    @pytest.mark.parametrize("after", [0.03, 0.08, 0.15, 0.25, 0.4])
    def test_a_first_start_that_is_killed_at_any_moment_is_started_over(self, tmp_path: Path, after: float) -> None:
        owner = own(tmp_path)
        time.sleep(after)
        owner.kill()
        owner.wait()
        with LocalKudu(tmp_path, never_fsync=True) as again:
            create_table(again, "works")
            assert again.cli("table", "list", again.masters).split() == ["works"]

    def test_a_server_that_cannot_start_says_why(self, tmp_path: Path) -> None:
        LocalKudu(tmp_path, never_fsync=True).start().stop()
        (tmp_path / "tserver-0" / "instance").write_bytes(b"nothing Kudu has written")
        started = time.monotonic()
        with pytest.raises(ConfigurationError, match="tserver-0 has ended: .*Invalid magic number"):
            LocalKudu(tmp_path, never_fsync=True).start()
        assert time.monotonic() - started < 20
        assert servers_in(tmp_path) == []

    def test_logs_do_not_grow_with_every_start(self, tmp_path: Path) -> None:
        for _ in range(4):
            LocalKudu(tmp_path, never_fsync=True).start().stop()
        with LocalKudu(tmp_path, never_fsync=True):
            logs = tmp_path / "logs" / "master"
            assert until(lambda: len(list(logs.glob("*.log.INFO.*"))) <= 2, 20)

    def test_more_tablet_servers_hold_more_copies(self, tmp_path: Path) -> None:
        with LocalKudu(tmp_path, tservers=3, never_fsync=True) as kudu:
            assert kudu.tservers == ["tserver-0", "tserver-1", "tserver-2"]
            listed = kudu.cli("tserver", "list", kudu.masters, "-columns=rpc-addresses", "-format=csv").split()
            assert len(listed) == 3


def test_without_the_servers_the_error_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_kudu.platform, "system", lambda: "Linux")
    monkeypatch.setattr(local_kudu.platform, "machine", lambda: "x86_64")
    with pytest.raises(ConfigurationError, match=r"run `python -m tools\.artifacts kudu-server`"):
        LocalKudu(tmp_path, distribution=tmp_path).start()


def test_elsewhere_than_on_linux_x86_64_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_kudu.platform, "system", lambda: "Darwin")
    with pytest.raises(ConfigurationError, match="needs Linux x86_64"):
        LocalKudu(tmp_path).start()


def test_remembered_ports_that_cannot_be_read_are_named(tmp_path: Path, kudu: LocalKudu) -> None:
    (tmp_path / "ports.json").write_text("[1]")
    with pytest.raises(ConfigurationError, match=r"ports\.json cannot be read"):
        LocalKudu(tmp_path).start()


# --- `imagewarehouse run --kudu` ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("kudu")
def test_run_starts_a_kudu_of_its_own_says_where_and_stops_it(tmp_path: Path) -> None:
    with Service(tmp_path / "data", environment={"IMAGEWAREHOUSE_KUDU": "local"}) as service:
        assert len(servers_in(tmp_path / "data" / "kudu")) == 2
        said = f"Kudu: 127.0.0.1:[0-9]+ \\(local, data in {tmp_path}/data/kudu, pages at http://127.0.0.1:[0-9]+\\)"
        assert until(lambda: re.search(said, service.output()) is not None)
        service.stop()
        assert servers_in(tmp_path / "data" / "kudu") == []


@pytest.mark.long
@pytest.mark.usefixtures("kudu")
def test_run_logs_a_kudu_that_has_died(tmp_path: Path) -> None:
    with Service(tmp_path / "data", environment={"IMAGEWAREHOUSE_KUDU": "local"}) as service:
        for pid in servers_in(tmp_path / "data" / "kudu"):
            os.kill(pid, signal.SIGKILL)
        for name in ("master", "tserver-0"):
            assert until(lambda name=name: f"ERROR   Kudu's {name} has ended" in service.output())
        assert service.stop() == 0


@pytest.mark.parametrize("kudu_option", ["local", "127.0.0.1:7051"])
def test_two_answers_to_where_kudu_is_are_refused(kudu_option: str, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "imagewarehouse.cli.main",
        "run",
        "--data",
        str(tmp_path / "data"),
        "--kudu",
        kudu_option,
    ]
    command += ["--set", "kudu.masters=127.0.0.1:7051"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == "imagewarehouse: --kudu: kudu.masters is set as well; give one of them\n"
    assert not (tmp_path / "data").exists()


def test_the_masters_given_become_the_setting() -> None:
    command = [sys.executable, "-m", "imagewarehouse.cli.main", "run", "--kudu", "a:7051,b:7051", "--settings"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True)
    assert "kudu.masters = a:7051,b:7051\n" in done.stdout
