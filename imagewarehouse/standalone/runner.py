"""Runs a flow: reads it, checks every setting, starts everything in order and stops it in order.

Several processes can run one flow together (`supervisor.py`), as nodes of a cluster do: they share ports, rows and images,
and each has queues and a journal of its own.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TextIO

from imagewarehouse import resources
from imagewarehouse.access import AccessKeys
from imagewarehouse.analytics.embedded import EmbeddedEngine
from imagewarehouse.analytics.kudu_scan import KuduEngine
from imagewarehouse.analytics.service import QueryService
from imagewarehouse.analytics.training import images_of_training
from imagewarehouse.errors import ConfigurationError, WarehouseError
from imagewarehouse.flows.definition import Component, Flow, environment_name, read_flow
from imagewarehouse.flows.settings import check_listeners
from imagewarehouse.ids import event_time
from imagewarehouse.limits import Limits
from imagewarehouse.nifi import adapter
from imagewarehouse.nifi.codec import LARGE
from imagewarehouse.nifi.listeners import RECEIVED
from imagewarehouse.nifi.precedence import GIVE_WAY_S, Precedence
from imagewarehouse.nifi.solr_options import solr_settings
from imagewarehouse.nifi.store_options import open_objects
from imagewarehouse.objects.reading import StoredImages
from imagewarehouse.rows.embedded import LocalRows
from imagewarehouse.rows.kudu import KuduRows
from imagewarehouse.standalone import components, pictures, searching
from imagewarehouse.standalone.analytics import API, Analytics, OfFirstWorker
from imagewarehouse.standalone.control import ControlSocket, control_socket, locations, metrics_of, row_store
from imagewarehouse.standalone.engine import BatchWork, Engine, Work
from imagewarehouse.standalone.flowfile import FlowFile, Ticket
from imagewarehouse.standalone.http import Bodies, HandleHttp, Listener, ListenHttp
from imagewarehouse.standalone.journal import Journal
from imagewarehouse.standalone.metrics import Metrics
from imagewarehouse.standalone.openapi import SENDING, document
from imagewarehouse.standalone.page import PAGE, Page
from imagewarehouse.standalone.pictures import Pictures
from imagewarehouse.standalone.process import cores
from imagewarehouse.standalone.python_host import PythonProcessor
from imagewarehouse.standalone.reading import Reader
from imagewarehouse.standalone.searching import Searches
from imagewarehouse.standalone.thumbnails import ThumbnailCache

log = logging.getLogger("imagewarehouse.standalone")

DEFAULT_FLOW = resources.FLOW
DRAIN_S = 30.0  # how long SIGTERM waits for what is under way

_KEYS = "Access Keys"
_OF_OTHER_WORKERS = re.compile(r"(?P<what>journal|control)-(?P<worker>\d+)\.(sqlite|sock)")
# Where the flow leaves a place to the working directory, the standalone runner puts it into its data folder.
_IN_DATA_FOLDER = re.compile(r"\./image-warehouse/(?P<name>[\w.-]+)")


@dataclass(frozen=True, slots=True)
class Options:
    """How to run. `settings` are parameter values by name; the environment's and the flow's own come after them.

    `workers`: processes that serve together.
    """

    flow: Path = DEFAULT_FLOW
    data: Path = Path("data")
    host: str = "127.0.0.1"
    workers: int = 1
    settings: tuple[tuple[str, str], ...] = ()


def parameter_values(flow: Flow, options: Options, environ: Mapping[str, str]) -> dict[str, str | None]:
    """Every parameter with its value: from --set, else the environment, else the flow.

    Raises ConfigurationError for a name that the flow does not know.
    """
    values: dict[str, str | None] = {}
    for name, parameter in flow.parameters.items():
        match = _IN_DATA_FOLDER.fullmatch(parameter.value or "")
        values[name] = str(options.data.resolve() / match["name"]) if match else parameter.value
        values[name] = environ.get(environment_name(name), values[name])
    for name, value in options.settings:
        if name not in values:
            close = get_close_matches(name, values, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; it has {', '.join(sorted(values))}"
            raise ConfigurationError(name, f"the flow has no such parameter{hint}")
        values[name] = value
    return values


class Runner:
    """One running flow: made and opened once, then started in one process, or in each of several that are forked."""

    def __init__(self, options: Options, environ: Mapping[str, str] = os.environ) -> None:
        """Check everything that can be checked without a port or a disk. Raises ConfigurationError."""
        self.options = options
        self.flow = read_flow(options.flow)
        self.parameters = parameter_values(self.flow, options, environ)
        self._lock_file: Any = None
        self._readers: list[Reader] = []
        self._contexts = components.context_maps(self.flow, self.parameters)
        builders = components.builders(self._contexts.__getitem__)
        self.python: list[PythonProcessor] = []
        works: dict[str, Work | BatchWork] = {}
        sources: list[Component] = []
        for component in self.flow.components.values():
            if component.kind != "PROCESSOR" or not component.enabled:
                continue
            if component.bundle[1] == "python-extensions":
                processor = PythonProcessor(component, self.parameters)
                self.python.append(processor)
                works[component.identifier] = processor.work
            elif component.type in builders:
                works[component.identifier] = builders[component.type](component, self.parameters)
            else:
                components.Settings(component, self.parameters)  # refuses what is not stood in for
                sources.append(component)
        # One core for each package under way. At least two of them in a process that is alone: while one is in the model or
        # at the disk, another is checked.
        carriers = max(2 if options.workers == 1 else 1, cores() // options.workers)
        self.engine = Engine(self.flow, works, carriers, self._precedence())
        self._bodies = Bodies(options.workers)
        self.metrics = Metrics(self.engine, [p.component.name for p in self.python if _switched_off(p)])
        self.listeners: list[Listener] = [self._listener(component) for component in sources]
        check_listeners(self.flow, self.parameters)
        self._check_ceilings()
        self._check_packages()

    def open(self) -> None:
        """Take what only one run can have: the data folder and the ports. Raises ConfigurationError naming the setting."""
        self._lock_data_folder()
        for listener in self.listeners:
            listener.open(self.options.host, self.options.workers)

    # What the process that watches over several of them does with the ports.

    def let_in(self, worker: int) -> None:
        """Before a worker is forked. Raises ConfigurationError."""
        for listener in self.listeners:
            listener.let_in(worker)

    def keep_out(self, worker: int) -> None:
        """Let the others take the connections of a worker that does not come up."""
        for listener in self.listeners:
            listener.keep_out(worker)

    def close_ports(self) -> None:
        """Before the workers are told to stop: the ports are free once they have done so."""
        for listener in self.listeners:
            listener.close()

    async def start(self, worker: int = 0) -> None:
        """Bring everything up; afterwards requests are answered. Raises ConfigurationError naming the setting.

        `worker`: which of the processes this is.
        """
        data = self.options.data
        self.journal = Journal(data / ("journal.sqlite" if worker == 0 else f"journal-{worker}.sqlite"))
        if worker == 0:
            self._clear_up()
        self._control = ControlSocket(control_socket(data, worker), self.python, self.metrics.text)
        others = {n: control_socket(data, n) for n in range(self.options.workers) if n != worker}
        self.metrics.ask(worker, lambda: metrics_of(others))
        try:
            # Each loads or opens something of its own, so they load side by side.
            results = await asyncio.gather(
                *(asyncio.to_thread(p.schedule) for p in self.python), return_exceptions=True
            )
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            self.engine.start()
            self._readers = self._open_readers(worker)
            for listener in self.listeners:
                listener.readers = self._readers_of(listener)
                listener.keys = self._keys()
                if isinstance(listener, ListenHttp):
                    listener.bind(self.journal, reads_forms=not listener.keys.digests)
                elif isinstance(listener, HandleHttp):
                    listener.bind(self._contexts[listener.settings.text("HTTP Context Map")])
                await listener.start(worker)
            await self._control.start()
        except BaseException:
            await self._close()
            raise
        self._replay()

    async def stop(self) -> bool:
        """Drain and stop. True when nothing was left under way; the journal keeps what was."""
        for listener in self.listeners:
            listener.accepting = False
        drained = await asyncio.to_thread(self.engine.drain, DRAIN_S)
        if not drained:  # a store that is away may keep a task for long; what is closed under it answers at once
            self.engine.halt()
            for processor in self.python:
                await asyncio.to_thread(processor.stop)
        await self._close()
        return drained

    async def _close(self) -> None:
        for listener in self.listeners:
            await listener.stop()
        await self._control.stop()
        for reader in self._readers:
            reader.close()
        await asyncio.to_thread(self.engine.stop)
        for processor in self.python:
            processor.stop()
        self.journal.close()

    def describe(self) -> list[tuple[str, str]]:
        """What an operator wants to read at the start: (what, where)."""
        rows = []
        if self.listeners and self._of_type("PutKuduRecord") is not None:
            # The port of /classify: the page classifies what is dropped on it, and talks to its own origin only.
            waiting = next((item for item in self.listeners if isinstance(item, HandleHttp)), self.listeners[0])
            rows.append((f"     {self._url(waiting, PAGE)}", f"dashboard; {API}: its figures for programs"))
        rows += [(f"POST {self._url(listener)}", listener.component.name) for listener in self.listeners]
        if self.listeners and self._of_type("StoreImage") is not None:
            rows.append((f"GET  {self._url(self.listeners[0], pictures.PATH)}", "also .../thumbnail, on every port"))
        if self.listeners and self._of_type("PutKuduRecord") is not None:
            rows.append((f"GET  {self._url(self.listeners[0], searching.PATH)}", "?q=words, on every port"))
        rows += (
            [(f"GET  {self._url(self.listeners[-1], '/health')}", "also /metrics, on every port")]
            if self.listeners
            else []
        )
        return rows

    def _url(self, listener: Listener, path: str | None = None) -> str:
        if path is None:
            path = (
                "/" + listener.settings.text("Base Path", "contentListener")
                if isinstance(listener, ListenHttp)
                else listener.settings.text("Allowed Paths", "/")
            )
        return f"http://{listener.address}{path}"

    def _listener(self, component: Component) -> Listener:
        kind = ListenHttp if component.type == components.LISTEN_HTTP else HandleHttp
        return kind(component, self.parameters, self.engine, self.metrics, self._bodies)

    def _check_ceilings(self) -> None:
        """What a step may accept, the listeners have to let in."""
        for processor in self.python:
            if processor.context.getProperty("Maximum Size") is None:
                continue
            needed = adapter.data_size(processor.context, "Maximum Size", Limits().max_bytes) * 4 // 3 + 64 * 1024
            for listener in self.listeners:
                if listener.ceiling < needed:
                    name = listener.component.setting("Multipart Request Max Size")
                    least = f"at least {-(-needed // (1 << 20))} MB, four thirds of the largest image"
                    raise ConfigurationError(
                        name,
                        f"expected {least}, received {listener.settings.text('Multipart Request Max Size', '1 MB')}",
                    )

    def _keys(self) -> AccessKeys:
        """Those of all steps that look at keys. Raises ConfigurationError."""
        texts = [adapter.text(p.context, _KEYS) for p in self.python if p.context.getProperty(_KEYS) is not None]
        return AccessKeys.parse(",".join(dict.fromkeys(texts)))

    def _of_type(self, kind: str) -> PythonProcessor | None:
        return next((processor for processor in self.python if processor.component.type == kind), None)

    def _open_readers(self, worker: int) -> list[Reader]:
        readers = (self._open_pictures(), self._open_searches(), self._open_figures(worker))
        return [reader for reader in readers if reader is not None]

    def _readers_of(self, listener: Listener) -> list[Reader]:
        """The page of this port, where there are figures, and what all ports share."""
        if self._control.analytics is None:
            return self._readers
        searches = any(isinstance(reader, Searches) and reader.has_index for reader in self._readers)
        images = any(isinstance(reader, Pictures) for reader in self._readers)
        taken = [path for path in SENDING if any(each.takes(path) for each in self.listeners)]
        about = document(sending=taken, images=images, searches=searches)
        return [Page(about, [path for path in taken if listener.takes(path)], self._keys()), *self._readers]

    def _open_figures(self, worker: int) -> Reader | None:
        """Workers behind the first one ask that one."""
        own = self._control.analytics = self._open_analytics()
        return OfFirstWorker(control_socket(self.options.data), own) if worker and own is not None else own

    def _open_searches(self) -> Searches | None:
        """What answers searches: with Solr where there is one, else with the embedded rows; None in a flow without rows."""
        rows, index = row_store(self.python), self._of_type("PutSolrDocument")
        if index is not None and (settings := solr_settings(index.context)) is not None:
            from imagewarehouse.search.solr_index import SolrIndex  # not needed where there is none

            return Searches(SolrIndex.of(settings, adapter.text(index.context, "Collection")), self._keys())
        if rows is None:
            return None
        if not isinstance(rows, LocalRows):
            return Searches(None, self._keys())
        from imagewarehouse.search.local_index import LocalIndex  # DuckDB: no part of writing

        return Searches(LocalIndex(rows.query), self._keys())

    def _open_pictures(self) -> Pictures | None:
        """What serves stored images; None in a flow that stores none. Made after the fork: clients of stores have threads."""
        store, check = self._of_type("StoreImage"), self._of_type("FilterImageRequest")
        if store is None:
            return None
        rows = row_store(self.python)
        return Pictures(
            StoredImages(open_objects(store.context), locations(self.python)),
            self._keys(),
            rows.sent if rows is not None else lambda image_id, user: False,
            Limits() if check is None else _limits(check.context),
            ThumbnailCache(self.options.data / "thumbnails", self.options.workers),
        )

    def _open_analytics(self) -> Analytics | None:
        """What serves figures; None where the rows are not written here. Made after the fork."""
        rows = row_store(self.python)
        if rows is None:
            return None
        engine = (
            KuduEngine(rows.writer, rows.sink.table, shared=True)
            if isinstance(rows, KuduRows)
            else EmbeddedEngine(rows.path)
        )
        service = QueryService(engine, self._training_images, at_once=max(2, cores() // 2))
        return Analytics(service, self._keys())

    def _training_images(self) -> Mapping[str, int]:
        """Images by class that the served model was trained on; none where its manifest does not say."""
        processor = self._of_type("ClassifyImage")
        if processor is None:
            return {}
        try:
            manifest = processor.processor.step.get(processor.context).classifier.manifest
        except WarehouseError:  # it says so itself
            return {}
        return images_of_training(manifest.training)

    def _precedence(self) -> Precedence:
        """As the flow's step that makes uploads give way."""
        seconds = [
            adapter.seconds(processor.context, "Give Way", GIVE_WAY_S)
            for processor in self.python
            if processor.context.getProperty("Give Way") is not None
        ]
        return Precedence(max(seconds, default=0.0))

    def _check_packages(self) -> None:
        """A longer package is taken for one body that is far too large."""
        for component in self.flow.components.values():
            if component.type == components.PACKAGE:
                most = components.Settings(component, self.parameters).size("Maximum Batch Content Size", "1 GB")
                if most > LARGE:
                    raise ConfigurationError(
                        component.setting("Maximum Batch Content Size"), f"expected at most {LARGE >> 20} MB"
                    )

    def _clear_up(self) -> None:
        """Take over what an earlier run with more workers has left. Raises ConfigurationError."""
        for path in sorted(self.options.data.iterdir()):
            match = _OF_OTHER_WORKERS.fullmatch(path.name)
            if match and int(match["worker"]) >= self.options.workers:
                if match["what"] == "journal":
                    self.journal.take_over(path)
                else:
                    path.unlink(missing_ok=True)

    def _lock_data_folder(self) -> None:
        path = self.options.data / "lock"
        try:
            self.options.data.mkdir(parents=True, exist_ok=True)
            self._lock_file = path.open("a+")
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._lock_file.truncate(0)
            self._lock_file.write(str(os.getpid()))  # whoever finds it taken can say by whom
            self._lock_file.flush()
        except BlockingIOError as err:
            raise ConfigurationError("--data", f"{self.options.data} is in use by {_holder(self._lock_file)}") from err
        except OSError as err:
            raise ConfigurationError("--data", f"{self.options.data}: {err.strerror or err}") from err

    def _replay(self) -> None:
        """Feed what an earlier run acknowledged into the flow, as fast as there is space for it."""
        source = next((item for item in self.listeners if isinstance(item, ListenHttp)), None)
        if source is None:
            return

        def feed(identifier: str = source.component.identifier) -> None:
            count = 0
            for entry in self.journal.replay():
                while not self.engine.accepts(identifier):
                    if self.engine.stopping:
                        return
                    threading.Event().wait(0.05)
                ticket = Ticket(lambda n=entry.number: self.journal.remove(n))  # type: ignore[misc]
                attributes = _dated(entry.attributes)
                self.engine.submit(identifier, [FlowFile(attributes, entry.content, len(entry.content), ticket)])
                count += 1
            if count:
                log.info("took up %d images that an earlier run had acknowledged", count)

        threading.Thread(target=feed, name="replay", daemon=True).start()


def _limits(check: Any) -> Limits:
    """What the check of requests, with this context, takes of an image."""
    defaults = Limits()
    return Limits(
        max_bytes=adapter.data_size(check, "Maximum Size", defaults.max_bytes),
        max_pixels=adapter.integer(check, "Maximum Pixels", defaults.max_pixels),
    )


def _dated(attributes: Mapping[str, str]) -> Mapping[str, str]:
    """An entry of the journal with the time when it came; version 0.1.0 did not write it, but gave each a key of that time."""
    if RECEIVED not in attributes:
        with suppress(ValueError):
            return {**attributes, RECEIVED: event_time(attributes.get("Idempotency-Key", "")).isoformat()}
    return attributes


def _holder(lock: TextIO) -> str:
    """Who has the data folder; a run that has just taken it, or one of an earlier release, has not written its number."""
    lock.seek(0)
    number = lock.read(20).strip()
    return f"another run, process {number}" if number.isdecimal() else "another run"


def _switched_off(processor: PythonProcessor) -> bool:
    values = [processor.context.getProperty(name) for name in ("Solr URL", "Solr Location")]
    return values[0] is not None and not any(value.getValue() for value in values if value is not None)
