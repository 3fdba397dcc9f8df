"""What NiFi refuses, or does not get done."""

from __future__ import annotations


class NifiError(Exception):
    """One or more lines that say what is wrong and what to do about it. The command ends with exit code 1.

    A wrong setting is a ConfigurationError and a NiFi that does not answer is Unavailable; both end with 2.
    """
