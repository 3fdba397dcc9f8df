"""The REST API of a NiFi: how to reach it, who asks, and what its refusals mean.

Every error is one that says what to do. Secrets come from files, the environment or a prompt, and go into no message.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any

import httpx

from imagewarehouse import __version__
from imagewarehouse.deployment.errors import NifiError
from imagewarehouse.errors import ConfigurationError, Unavailable

TOKEN = "IMAGEWAREHOUSE_NIFI_TOKEN"  # noqa: S105 - names of environment variables, not secrets
PASSWORD = "IMAGEWAREHOUSE_NIFI_PASSWORD"  # noqa: S105
KEY_PASSWORD = "IMAGEWAREHOUSE_NIFI_KEY_PASSWORD"  # noqa: S105

_CONNECT_S = 10.0
_READ_S = 120.0  # in a cluster every node has to agree before NiFi answers
_AGAIN = 3  # a question that got no answer is asked as often again; an order never is

# Which policy a user lacks, by what was asked for.
_POLICIES = (
    ("/controller", "'access the controller', view and modify"),
    ("/parameter-contexts", "'access parameter contexts', view and modify"),
    ("/process-groups", "'view the component' and 'modify the component' on the process group"),
    ("/processors", "'view the component' and 'modify the component' on the process group"),
    ("/flow", "'view the user interface', and 'operate the component' on the process group"),
)


@dataclass(frozen=True, slots=True)
class Login:
    """Who asks. `ask` prompts for the password of `user` where neither the environment nor a file has it."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    client_cert: Path | None = None
    client_key: Path | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """`insecure`: the server's certificate is not looked at."""

    url: str  # without /nifi-api
    ca_cert: Path | None = None
    insecure: bool = False

    @property
    def host(self) -> str:
        return httpx.URL(self.url).host

    @property
    def secure(self) -> bool:
        return self.url.startswith("https://")


def read_address(text: str, ca_cert: Path | None = None, insecure: bool = False) -> Address:
    """An address as people copy it, with /nifi, /nifi-api or nothing behind it. Raises ConfigurationError."""
    try:
        url = httpx.URL(text.strip())
    except httpx.InvalidURL as err:
        raise ConfigurationError("--nifi", f"is no address: {err}") from err
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError("--nifi", "expected an address such as https://nifi.example.org:8443")
    if url.userinfo:
        raise ConfigurationError("--nifi", f"is visible to every user of the machine; give --user, and {PASSWORD}")
    path = re.sub(r"/(nifi|nifi-api)/?$", "", url.path).rstrip("/")
    netloc = url.netloc.decode("ascii")
    if ca_cert is not None and not ca_cert.is_file():
        raise ConfigurationError("--ca-cert", f"there is no file {ca_cert}")
    return Address(f"{url.scheme}://{netloc}{path}", ca_cert, insecure)


def read_login(
    *,
    user: str | None,
    password_file: Path | None,
    token_file: Path | None,
    client_cert: Path | None,
    client_key: Path | None,
    environ: Mapping[str, str] = os.environ,
) -> Login:
    """Raises ConfigurationError when two logins are given, or half of one."""
    token = _secret("--token-file", token_file) or environ.get(TOKEN) or None
    password = _secret("--password-file", password_file) or environ.get(PASSWORD) or None
    if user and token_file:
        raise ConfigurationError("--user", "--token-file is given as well; give one of them")
    if password_file and not user:
        raise ConfigurationError("--password-file", "needs --user")
    if client_key and not client_cert:
        raise ConfigurationError("--client-key", "needs --client-cert")
    for option, path in (("--client-cert", client_cert), ("--client-key", client_key)):
        if path is not None and not path.is_file():
            raise ConfigurationError(option, f"there is no file {path}")
    return Login(user, password if user else None, None if user else token, client_cert, client_key)


def _secret(option: str, path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigurationError(option, f"{path}: {getattr(err, 'strerror', None) or 'is not text'}") from err
    if not text:
        raise ConfigurationError(option, f"{path} is empty")
    return text


class Nifi:
    """A NiFi that answers. Not thread-safe."""

    def __init__(self, address: Address, login: Login | None = None) -> None:
        """Does not connect yet. Raises ConfigurationError for certificates that cannot be read."""
        self.address = address
        self._login = login or Login()
        headers = {"User-Agent": f"imagewarehouse/{__version__}", "Accept": "application/json, */*;q=0.5"}
        self._client = httpx.Client(
            base_url=f"{address.url}/nifi-api",
            headers=headers,
            verify=self._tls() if address.secure else True,
            timeout=httpx.Timeout(_READ_S, connect=_CONNECT_S),
            http2=False,  # an upload of 100 MB over HTTP/2 has hung in a busy NiFi; nothing here is asked side by side
            trust_env=False,  # a NiFi is not reached through the proxy for the internet, nor with a password in ~/.netrc
        )
        # With its login cookie NiFi would ask for a second token against forged requests; a header needs none.
        self._client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._answered = False

    def __enter__(self) -> Nifi:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def connect(self) -> str:
        """Log in; over https:// only, or the secret would be everybody's. Returns NiFi's version.

        Raises Unavailable, ConfigurationError.
        """
        login = self._login
        if (login.user or login.token) and not self.address.secure:
            raise ConfigurationError("--nifi", "NiFi takes logins over https:// only")
        if login.user:
            form = {"username": login.user, "password": login.password or ""}
            answer = self._ask("POST", "/access/token", data=form)
            if answer.status_code != 201:
                raise ConfigurationError("--user", f"NiFi refused the login of {login.user}: {_text(answer)}")
            self._client.headers["Authorization"] = f"Bearer {answer.text.strip()}"
        elif login.token:
            self._client.headers["Authorization"] = f"Bearer {login.token}"
        about = self.get("/flow/about")
        self._answered = True
        try:
            return str(about["about"]["version"])
        except (KeyError, TypeError) as err:
            raise ConfigurationError("--nifi", f"{self.address.url} answers, and is no NiFi") from err

    # --- requests -----------------------------------------------------------------------------------------------------

    def get(self, path: str, **query: Any) -> Any:
        return self.call("GET", path, params=query)

    def call(self, method: str, path: str, *, timeout: float | None = None, **content: Any) -> Any:
        """The JSON of the answer; its text where it is none. Raises NifiError for what NiFi refuses."""
        if timeout is not None:
            content["timeout"] = httpx.Timeout(timeout, connect=_CONNECT_S)
        answer = self._ask(method, path, **content)
        if answer.is_success:
            if not answer.content:
                return None
            try:
                return answer.json()
            except ValueError:
                return answer.text
        raise self._refusal(method, path, answer)

    def find(self, path: str) -> Any:
        """As `get`, or None where there is nothing."""
        answer = self._ask("GET", path)
        if answer.status_code == 404:
            return None
        if not answer.is_success:
            raise self._refusal("GET", path, answer)
        return answer.json()

    def _ask(self, method: str, path: str, **content: Any) -> httpx.Response:
        for _ in range(_AGAIN if method == "GET" and self._answered else 0):
            with suppress(httpx.TransportError):
                answer = self._client.request(method, path, **content)
                if answer.status_code != 500:  # a cluster stumbles while one of its nodes still loads the processors
                    return answer
            time.sleep(1)
        try:
            return self._client.request(method, path, **content)
        except httpx.TransportError as err:
            raise self._unreachable(err) from err

    # --- what went wrong ----------------------------------------------------------------------------------------------

    def _refusal(self, method: str, path: str, answer: httpx.Response) -> Exception:
        text = _text(answer)
        if answer.status_code == 401:
            login = self._login
            if login.token:
                return ConfigurationError(TOKEN, f"NiFi does not take the token; it may have expired: {text}")
            how = f"give --user (with {PASSWORD}), {TOKEN} or --client-cert"
            if login.client_cert:
                how = "it does not know the client certificate; " + how
            return ConfigurationError("--nifi", f"NiFi wants to know who asks: {how}")
        if answer.status_code == 403:
            policy = next((policy for start, policy in _POLICIES if path.startswith(start)), None)
            hint = f"; the user needs the policy {policy}" if policy else ""
            return NifiError(f"NiFi does not allow {method} {path}: {text}{hint}")
        if answer.status_code == 404 and path == "/flow/about":
            return ConfigurationError("--nifi", f"{self.address.url} answers, and has no NiFi there")
        if answer.status_code == 413:
            return NifiError(
                f"NiFi takes no request that large: {text}; see nifi.web.max.content.size in nifi.properties"
            )
        return NifiError(f"NiFi refused {method} {path} with {answer.status_code}: {text}")

    def _unreachable(self, err: httpx.TransportError) -> Exception:
        url = self.address.url
        cause: BaseException = next((error for error in _causes(err) if isinstance(error, OSError)), err)
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = cause.verify_message or str(cause)
            if "mismatch" in reason.lower() or "not valid for" in reason.lower():
                return ConfigurationError("--nifi", f"{url}: the certificate is for another name: {reason}")
            how = "name the authority's certificate (PEM) with --ca-cert"
            if self.address.ca_cert:
                how = f"{self.address.ca_cert} is not the authority it was made by"
            return ConfigurationError("--ca-cert", f"the certificate of {url} is not trusted ({reason}); {how}")
        if isinstance(cause, ssl.SSLError):
            reason = str(cause)
            if (
                "WRONG_VERSION" in reason.upper()
                or "RECORD_LAYER" in reason.upper()
                or "HTTP_REQUEST" in reason.upper()
            ):
                return ConfigurationError("--nifi", f"{url} does not speak TLS; is it http:// ?")
            if "ALERT" in reason.upper() and "CERTIFICATE" in reason.upper():
                return ConfigurationError("--client-cert", f"{url} wants a client certificate that it trusts: {reason}")
            return Unavailable(f"{url}: {reason}")
        if isinstance(err, httpx.ConnectTimeout):
            return Unavailable(f"{url} did not answer within {_CONNECT_S:g} s; is a firewall in between?")
        if isinstance(err, httpx.TimeoutException):
            return Unavailable(
                f"{url} took the request and did not answer within {_READ_S:g} s; see NiFi's nifi-app.log"
            )
        if isinstance(cause, ConnectionRefusedError) or "refused" in str(err).lower():
            return Unavailable(f"nothing answers at {url}: connection refused; is NiFi running, and is this its port?")
        if isinstance(cause, socket.gaierror):
            return ConfigurationError("--nifi", f"there is no host {self.address.host}: {cause.strerror}")
        if (
            isinstance(err, httpx.RemoteProtocolError | httpx.ReadError)
            and not self._answered
            and not self.address.secure
        ):
            return Unavailable(f"{url} does not answer as a web server does; is it https:// ? ({err})")
        return Unavailable(f"{url}: {getattr(cause, 'strerror', None) or err or type(err).__name__}")

    def _tls(self) -> ssl.SSLContext:
        address, login = self.address, self._login
        try:
            context = ssl.create_default_context(cafile=str(address.ca_cert) if address.ca_cert else None)
        except (ssl.SSLError, OSError) as err:
            raise ConfigurationError("--ca-cert", f"{address.ca_cert} holds no certificate in PEM form") from err
        if address.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if login.client_cert is not None:
            key = str(login.client_key) if login.client_key else None
            try:
                context.load_cert_chain(str(login.client_cert), key, lambda: os.environ.get(KEY_PASSWORD, ""))
            except (ssl.SSLError, OSError, ValueError) as err:
                problem = "and its key cannot be read, or do not belong together"
                raise ConfigurationError(
                    "--client-cert", f"{login.client_cert} {problem}; the key's password goes into {KEY_PASSWORD}"
                ) from err
        return context


def _causes(err: BaseException | None) -> Iterator[BaseException]:
    seen_ids: set[int] = set()
    while err is not None and id(err) not in seen_ids:
        seen_ids.add(id(err))
        yield err
        err = err.__cause__ or err.__context__


def _text(answer: httpx.Response) -> str:
    """What NiFi says, on one line; a page of HTML says nothing."""
    if "html" in answer.headers.get("content-type", ""):
        title = re.search(r"<title>(.*?)</title>", answer.text, re.DOTALL)
        return re.sub(r"\s+", " ", title[1]).strip() if title else answer.reason_phrase
    return re.sub(r"\s+", " ", answer.text).strip()[:1000] or answer.reason_phrase
