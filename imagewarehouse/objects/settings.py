"""How a store is reached: what an operator sets beside its location."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Without a value a store is asked as its platform means it: environment, credentials file, role of the machine.

    What the URI of the location says itself comes first.
    """

    endpoint: str = ""
    """URL of an S3 or Azure store that is not Amazon's or Microsoft's."""
    region: str = ""
    path_style: bool = True
    """S3: the bucket is a part of the path, which every store takes; False: of the host name."""
    access_key: str = ""
    """S3: access key id. Azure: name of the account."""
    secret_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    ca_file: str = ""
    """PEM file with the authorities that sign the certificate of the store, beside those of the system."""
    connect_s: float = 3.0
    """Seconds for a connection. What takes longer does not answer: seconds instead of minutes, as a client waits."""
    answer_s: float = 5.0
    """Seconds without a byte of an answer."""

    def hide(self, message: str) -> str:
        """A message of the store without the secrets in these settings."""
        for secret in (self.secret_key, self.session_token):
            if len(secret) > 3:
                message = message.replace(secret, "***")
        return message
