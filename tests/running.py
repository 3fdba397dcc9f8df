"""A real `imagewarehouse run` in a process of its own, for tests and benchmarks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from imagewarehouse.cli.rows import plain, query
from imagewarehouse.ports import free_ports
from imagewarehouse.resources import REPOSITORY


class Answered:
    """Status, headers and body of an HTTP answer."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def json(self) -> Any:
        return json.loads(self.body)


def post(
    url: str, content: bytes, headers: dict[str, str] | None = None, method: str = "POST", timeout: float = 60
) -> Answered:
    request = urllib.request.Request(url, data=content, headers=headers or {}, method=method)  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
            return Answered(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as err:
        return Answered(err.code, err.headers, err.read())


class Service:
    """Start, stop, kill and ask one running service."""

    def __init__(
        self, data: Path, settings: dict[str, str] | None = None, environment: dict[str, str] | None = None
    ) -> None:
        self.data = data
        self.images_port, self.classify_port = free_ports(2)
        self.settings = {
            "http.images.port": str(self.images_port),
            "http.classify.port": str(self.classify_port),
            **(settings or {}),
        }
        self.environment = {**os.environ, **(environment or {})}
        self.process: subprocess.Popen[str] | None = None
        self.ready_after = 0.0

    @property
    def classify_url(self) -> str:
        return f"http://127.0.0.1:{self.classify_port}/classify"

    @property
    def images_url(self) -> str:
        return f"http://127.0.0.1:{self.images_port}/images"

    def command(self) -> list[str]:
        arguments = [item for name, value in self.settings.items() for item in ("--set", f"{name}={value}")]
        return [sys.executable, "-m", "imagewarehouse.cli.main", "run", "--data", str(self.data), *arguments]

    def start(self) -> Service:
        started = time.monotonic()
        self.log = (self.data.parent / f"{self.data.name}.log").open("a+")
        self.process = subprocess.Popen(
            self.command(), cwd=REPOSITORY, env=self.environment, stdout=self.log, stderr=subprocess.STDOUT, text=True
        )
        while time.monotonic() - started < 60:
            if self.process.poll() is not None:
                break
            try:
                answer = post(f"http://127.0.0.1:{self.classify_port}/health", b"", method="GET", timeout=5)
                # One of its processes may answer before all of them are up and the service says so.
                if answer.status == 200 and "; Ctrl-C stops" in self.output():
                    self.ready_after = time.monotonic() - started
                    return self
            except OSError:
                pass
            time.sleep(0.05)
        self.kill()
        raise AssertionError(f"the service did not become ready:\n{self.output()}")

    def stop(self) -> int:
        """SIGTERM; gives the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        """SIGKILL, as the kernel does it when memory runs out."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)

    def memory(self) -> float:
        """MiB of all its processes; a page that several share counts once."""
        if self.process is None or self.process.poll() is not None:
            return 0.0
        root = psutil.Process(self.process.pid)
        pss = 0
        for process in (root, *root.children()):
            with suppress(psutil.NoSuchProcess):
                pss += process.memory_full_info().pss
        return pss / 2**20

    def output(self) -> str:
        self.log.seek(0)
        return self.log.read()

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """What `imagewarehouse rows` would show, without starting a process for it."""
        return [{name: plain(value) for name, value in row.items()} for row in query(self.data, sql)]

    def count(self, condition: str = "true") -> int:
        return int(self.rows(f"SELECT count(*) AS n FROM image_events WHERE {condition}")[0]["n"])

    def objects(self) -> list[Path]:
        return [path for path in (self.data / "objects").rglob("*") if path.is_file()]

    def __enter__(self) -> Service:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            try:
                self.stop()
            finally:
                self.kill()
        self.log.close()


@contextmanager
def dashboard(log: Path, *arguments: str, keys: str = "") -> Iterator[str]:
    """`imagewarehouse dashboard` with these arguments; gives its address."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "imagewarehouse.cli.main", "dashboard", "--port", str(port), *arguments]
    environment = {**os.environ, "IMAGEWAREHOUSE_ACCESS_KEYS": keys}
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 60
        while "Ctrl-C stops" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, log.read_text()
    finally:
        process.kill()
        process.wait(30)
