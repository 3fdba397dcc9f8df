"""nginx with the files of nifi-conf/front/ in front of any two listeners; what tests and benchmarks of it share."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from imagewarehouse.ports import free_ports
from imagewarehouse.resources import REPOSITORY

FILES = REPOSITORY / "nifi-conf" / "front"
TIMES = (
    "client_header_timeout",
    "client_body_timeout",
    "proxy_read_timeout",
    "worker_shutdown_timeout",
    "lingering_time",
)


def nginx() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


class Front:
    """The shipped configuration with this machine's ports and folder; with `times`, time-outs that a test can wait for."""

    def __init__(
        self,
        folder: Path,
        images_port: int,
        classify_port: int,
        *,
        certificates: Path | None = None,
        keys: dict[str, str] | None = None,
        times: dict[str, str] | None = None,
        edits: dict[str, str] | None = None,
    ) -> None:
        """`keys`: access key by subject of a client's certificate. `edits`: further texts to replace, each there once."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self.tls_port, self.inner_port = free_ports(3, {images_port, classify_port})
        self.log = folder / "front.log"
        text = (FILES / "imagewarehouse.conf").read_text()
        own = (FILES / "nginx.conf").read_text()
        changes = {
            "server 127.0.0.1:8081 ": f"server 127.0.0.1:{images_port} ",
            "server 127.0.0.1:8082 ": f"server 127.0.0.1:{classify_port} ",
            "server 127.0.0.1:8085 ": f"server 127.0.0.1:{self.inner_port} ",
            "listen 127.0.0.1:8085;": f"listen 127.0.0.1:{self.inner_port};",
            "listen 8083;": f"listen {self.port};",
            "/var/log/nginx/imagewarehouse.log": str(self.log),
            **(edits or {}),
        }
        if certificates is not None:
            text = re.sub(r"^    #(?:tls|client) ", "    ", text, flags=re.MULTILINE)
            changes |= {
                "    listen 8084 ssl": f"    listen {self.tls_port} ssl",
                "/etc/imagewarehouse/certificate.pem": str(certificates / "certificate.pem"),
                "/etc/imagewarehouse/private-key.pem": str(certificates / "private-key.pem"),
                "/etc/imagewarehouse/client-authorities.pem": str(certificates / "authority.pem"),
            }
        if keys:
            example = '# "SUCCESS:CN=camera-17,O=Example" "the key of camera-17";'
            changes[example] = " ".join(f'"SUCCESS:{subject}" "{key}";' for subject, key in keys.items())
        for old, new in changes.items():
            assert text.count(old) == 1, f"{old!r} is not once in imagewarehouse.conf"
            text = text.replace(old, new)
        for name, value in (times or {}).items():
            assert name in TIMES
            pattern = rf"^(\s*{name}) [^;]+;"
            found = len(re.findall(pattern, text + own, re.MULTILINE))
            assert found, name
            text, own = (re.sub(pattern, rf"\1 {value};", part, flags=re.MULTILINE) for part in (text, own))
        (folder / "imagewarehouse.conf").write_text(text)
        (folder / "nginx.conf").write_text(own)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def classify(self) -> str:
        return f"http://127.0.0.1:{self.port}/classify"

    @property
    def images(self) -> str:
        return f"http://127.0.0.1:{self.port}/images"

    def command(self, *arguments: str) -> list[str]:
        program = nginx()
        assert program is not None, "needs nginx"
        return [program, "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"), *arguments]

    def check(self) -> str:
        """What `nginx -t` says; it ends with 0."""
        done = subprocess.run(self.command("-t"), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def start(self) -> Front:
        # Where tests run as root, nginx's workers would be nobody, who may not enter the folder of a test.
        globals_ = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
        # A session of its own: Ctrl-C is for who started it, and nginx would drop what it has.
        self.process = subprocess.Popen(self.command("-g", globals_), stderr=subprocess.DEVNULL, start_new_session=True)
        until = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                assert self.process.poll() is None, self.errors()
                assert time.monotonic() < until, self.errors()
                time.sleep(0.02)

    def reload(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)

    def errors(self) -> str:
        log = self.folder / "error.log"
        return log.read_text() if log.exists() else "no error.log"

    def lines(self) -> list[dict[str, Any]]:
        """Of the access log, oldest first."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def logs(self, seconds: float = 5, **fields: Any) -> bool:
        """Whether the newest line comes to have these values; it is written behind the answer."""
        until = time.monotonic() + seconds
        while True:
            lines = self.lines() if self.log.exists() else []
            if lines and all(lines[-1][name] == value for name, value in fields.items()):
                return True
            if time.monotonic() > until:
                print("last line:", lines[-1:])
                return False
            time.sleep(0.02)

    def reasons(self) -> Counter[str]:
        return Counter(line["reason"] for line in self.lines() if line["reason"])

    def status(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.inner_port}/status", timeout=5) as answer:
            return str(answer.read().decode())

    def __enter__(self) -> Front:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
