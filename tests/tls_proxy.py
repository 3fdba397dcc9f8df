"""Certificates of a test's own, and a proxy that speaks TLS in front of a server that does not."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files: an authority, a server's for 127.0.0.1, a client's, and those of an authority that nobody trusts."""

    folder: Path

    def path(self, name: str) -> str:
        return str(self.folder / name)


def make_certificates(folder: Path) -> Certificates:
    for authority in ("ca", "stranger"):
        _openssl(folder, "req", "-x509", *_key(f"{authority}.key"), "-days", "2", "-subj", f"/CN={authority}",
                 "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign",
                 "-out", f"{authority}.pem")  # fmt: skip
    signed = [("server", "ca", "subjectAltName=IP:127.0.0.1"), ("client", "ca", "extendedKeyUsage=clientAuth"),
              ("other-client", "stranger", "extendedKeyUsage=clientAuth")]  # fmt: skip
    for name, authority, extension in signed:
        _openssl(folder, "req", *_key(f"{name}.key"), "-subj", f"/CN={name}", "-out", f"{name}.csr")
        (folder / f"{name}.ext").write_text(extension)
        _openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
                 "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")  # fmt: skip
    return Certificates(folder)


@contextmanager
def tls_proxy(port: int, certificates: Certificates, *, clients: bool = False) -> Iterator[int]:
    """The port of a proxy in front of that one. `clients`: it wants a certificate of the authority from them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.path("server.pem"), certificates.path("server.key"))
    if clients:
        context.load_verify_locations(certificates.path("ca.pem"))
        context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(plain: socket.socket) -> None:
        with suppress(OSError), plain:
            front = context.wrap_socket(plain, server_side=True)
            with front, socket.create_connection(("127.0.0.1", port)) as back:
                other = threading.Thread(target=_copy, args=(back, front), daemon=True)
                other.start()
                _copy(front, back)
                other.join(5)

    def accept() -> None:
        with suppress(OSError):  # it was closed
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _key(name: str) -> tuple[str, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", name)


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
