"""Authentication of the Java client and its trust: Kerberos logins with renewal, tokens, certificates."""

from __future__ import annotations

import base64
import json
import logging
import math
import re
import ssl
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from imagewarehouse.errors import ConfigurationError, WarehouseError
from imagewarehouse.kudu.clients.interface import KuduSettings

log = logging.getLogger("imagewarehouse.kudu")

_LOOK_S = 60.0  # at most between two looks at the ticket: a machine that slept has lost time that no timer counted
_AGAIN_S = (5.0, 300.0)  # from the first failed renewal to the second, doubled from then on up to the second number

# Messages of the JVM for a refused login, by the property to check. Kerberos numbers its errors, the texts vary.
_REFUSED = (
    (r"\(6\)|not found in Kerberos database", "Kerberos Principal", "the KDC does not know {principal}"),
    (r"\((18|1)\)", "Kerberos Principal", "{principal} is locked or has expired"),
    (r"\((24|31)\)|[Cc]hecksum failed", "Kerberos Keytab", "{source} holds an old or a wrong key of {principal}"),
    (r"\(37\)", "Kerberos Principal", "the clocks of this machine and of the KDC differ too much"),
    (r"[Cc]annot (locate|find) (KDC|default realm)|null realm|realm info", "Kerberos Principal",
     "Java finds no KDC for {principal}; is its realm in /etc/krb5.conf, or in the file that KRB5_CONFIG names?"),
)  # fmt: skip
_AWAY = ("java.net.", "java.io.", "java.nio.")  # the KDC does not answer, which may pass


class KerberosLogin:
    """One login and its ticket, renewed by a thread when 80 % of its life are over. Thread-safe.

    A KDC that does not answer does not prevent the start: the login is repeated until it succeeds.
    """

    def __init__(self, settings: KuduSettings) -> None:
        """Raises ConfigurationError with the property that is wrong. Needs a running JVM."""
        import jpype

        java = jpype.JClass("imagewarehouse.kudu.KerberosLogin")
        self._principal = settings.principal
        self._source = settings.keytab or settings.ticket_cache
        self._from_keytab = bool(settings.keytab)
        self._check(java)
        self._java = (
            java.ofKeytab(settings.principal, settings.keytab)
            if self._from_keytab
            else java.ofTicketCache(settings.ticket_cache)
        )
        self._failed = ""  # why there is no new ticket, where there should be one
        self._renew(first=True)
        self._closed = threading.Event()
        threading.Thread(target=self._renew_until_closed, name="kudu-kerberos", daemon=True).start()

    def build(self, builder: Any) -> Any:
        """The client of this builder, logged in."""
        return self._java.build(builder)

    @property
    def problem(self) -> str:
        """Why servers refuse this login at present; empty while the ticket is valid."""
        return "" if self._java.isValid() else self._failed or "the ticket has expired"

    def close(self) -> None:
        """Stop the renewal."""
        self._closed.set()

    def _check(self, java: Any) -> None:
        """Checks that the keytab or the ticket cache is usable: the JVM would report a missing password instead."""
        setting = "Kerberos Keytab" if self._from_keytab else "Kerberos Ticket Cache"
        try:
            with Path(self._source.removeprefix("FILE:")).open("rb"):
                pass
        except OSError as err:
            raise ConfigurationError(setting, f"{self._source} cannot be read: {err.strerror or err}") from err
        if not self._from_keytab:
            return
        try:
            keys = int(java.keys(self._principal, self._source))
        except Exception as err:  # a name that is none, or a realm that has to be guessed and cannot be
            raise ConfigurationError("Kerberos Principal", f"{self._principal}: {_message(err)}") from err
        if keys == 0:
            raise ConfigurationError("Kerberos Keytab", f"{self._source} holds no key of {self._principal}")

    def _renew_until_closed(self) -> None:
        pause = _AGAIN_S[0]
        while True:
            due = self._java.renewInMs() / 1000
            if not self._failed:
                pause = _AGAIN_S[0]
            if self._closed.wait(pause if self._failed else min(max(due, 0.5), _LOOK_S)):
                return
            if self._failed:
                pause = min(2 * pause, _AGAIN_S[1])
            if self._failed or self._java.renewInMs() <= 0:
                self._renew()

    def _renew(self, first: bool = False) -> None:
        """Log in. Logs the first failure and the recovery, one line each."""
        try:
            self._java.login()
            failed = "" if self._java.renewInMs() > 0 else f"{self._source} has no newer ticket"
        except Exception as err:  # whatever Java says
            error = self._error(err)
            if first and error is not None:
                raise error from err
            failed = str(error or _message(err))
        name = self._java.principal() or self._principal
        if failed and not self._failed:
            log.warning("Kerberos: no new ticket for %s, trying again: %s", name, failed)
        elif self._failed and not failed:
            log.info("Kerberos: %s has a ticket again", name)
        self._failed = failed

    def _error(self, err: Any) -> WarehouseError | None:
        """The error of a setting; None where only the KDC is unreachable."""
        message, cause = _message(err), err.getCause() if hasattr(err, "getCause") else None
        if cause is not None and str(cause.getClass().getName()).startswith(_AWAY):
            return None
        for pattern, setting, problem in _REFUSED:
            if re.search(pattern, message):
                text = problem.format(principal=self._principal or "its principal", source=self._source)
                return ConfigurationError(setting, f"{text} ({message})")
        if not self._from_keytab:
            return ConfigurationError("Kerberos Ticket Cache", f"{self._source} holds no valid ticket ({message})")
        return ConfigurationError("Kerberos Keytab", f"the login of {self._principal} was refused ({message})")


def read_certificates(path: str) -> list[bytes]:
    """The certificates of a PEM file, in DER. Raises ConfigurationError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigurationError("Trusted Certificates", f"{path} cannot be read: {_message(err)}") from err
    certificates = re.findall(f"{ssl.PEM_HEADER}.*?{ssl.PEM_FOOTER}", text, re.DOTALL)
    if not certificates:
        raise ConfigurationError("Trusted Certificates", f"{path} holds no certificate in PEM")
    try:
        return [ssl.PEM_cert_to_DER_cert(certificate) for certificate in certificates]
    except ValueError as err:
        raise ConfigurationError("Trusted Certificates", f"{path} holds a damaged certificate: {err}") from err


def check_token(token: str, now: float) -> None:
    """Raises ConfigurationError for a token that no server accepts: the client would retry until its time-out.

    Whether the token is true is the servers' to say. `now` in seconds since 1970.
    """
    parts = token.split(".")
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        until = float(claims.get("exp", math.inf))
    except (IndexError, ValueError, AttributeError, TypeError):
        raise ConfigurationError("JSON Web Token", "is no token of three parts, separated by dots") from None
    if until <= now:
        when = datetime.fromtimestamp(until, timezone.utc).isoformat(" ", "seconds")
        raise ConfigurationError("JSON Web Token", f"has expired, at {when}")


def _message(err: Any) -> str:
    if isinstance(err, OSError):
        return err.strerror or str(err)
    message = err.getMessage() if hasattr(err, "getMessage") else None
    return " ".join(str(message if message is not None else err).split())
