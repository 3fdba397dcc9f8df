"""Creates the client that the settings choose."""

from __future__ import annotations

from imagewarehouse.kudu.clients.interface import NATIVE, KuduSettings, KuduWriter


def connect(settings: KuduSettings) -> KuduWriter:
    """A writer of the chosen backend. Raises ConfigurationError when it is not installed. Nothing is sent yet."""
    if settings.backend == NATIVE:
        from imagewarehouse.kudu.clients.native_client import NativeKuduWriter  # needs a compiled kudu-python

        return NativeKuduWriter(settings)
    from imagewarehouse.kudu.clients.java_client import JavaKuduWriter  # starts a JVM

    return JavaKuduWriter(settings)
