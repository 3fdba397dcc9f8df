"""FilterImageRequest: lets only whole images in, and gives each request its id and time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from imagewarehouse.errors import ImageRejected, Unavailable, WarehouseError
from imagewarehouse.ids import event_time, new_request_id, request_id_from_key, utc_now
from imagewarehouse.images.decoding import InputSpec
from imagewarehouse.intake import IntakeRules, check_access, check_content, check_request, clean_file_name
from imagewarehouse.metadata import ACCEPTED
from imagewarehouse.metadata import REJECTED as STATUS_REJECTED
from imagewarehouse.objects.fetching import Fetcher
from imagewarehouse.steps.event import Facts, ImageEvent, Origin, Problem, Submission
from imagewarehouse.steps.outcome import REJECTED, SUCCESS, UNEXPECTED, Outcome

log = logging.getLogger("imagewarehouse")

_MOST_TYPE = 255  # characters of a declared type that are kept
Fetch = Callable[[str, int], bytes]


class FilterRequests:
    """The first step. Thread-safe."""

    name = "FilterImageRequest"

    def __init__(self, rules: IntakeRules, fetcher: Fetcher | None = None) -> None:
        """`fetcher`: reads what an image_uri names; None switches image_uri off."""
        self.rules = rules
        self._fetcher = fetcher

    def process(self, submissions: Sequence[Submission], spec: InputSpec | None = None) -> list[Outcome]:
        """An outcome for each request: none of them is without an id, whatever is wrong with it.

        Args: spec: what a model of this process takes; then the picture is decoded once for the check and for the model.
        """
        if self._fetcher is None:
            return [self._check(submission, None, spec) for submission in submissions]
        return self._fetcher.for_each(lambda submission, fetch: self._check(submission, fetch, spec), submissions)

    def close(self) -> None:
        if self._fetcher is not None:
            self._fetcher.close()

    def _check(self, submission: Submission, fetch: Fetch | None, spec: InputSpec | None) -> Outcome:
        # First of all: whatever happens to the request, its row, its answer and the log lines about it name this id.
        judged = _Judged(submission)
        try:
            return judged.accept(self.rules, fetch, spec)
        except ImageRejected as err:
            event = replace(judged.event, status=STATUS_REJECTED, problem=Problem.of(err))
            return Outcome(REJECTED, event)
        except Unavailable as err:  # a store that an image_uri leads to
            log.warning("%s: request %s: %s", self.name, judged.event.request_id, err)
            failure: WarehouseError = err
        except Exception:
            log.exception("%s: request %s", self.name, judged.event.request_id)
            failure = WarehouseError(UNEXPECTED)
        return Outcome(REJECTED, judged.event.failed(failure))


class _Judged:
    """A request while it is judged: what is known of it, as soon as it is known."""

    def __init__(self, submission: Submission) -> None:
        self._submission = submission
        self._now = utc_now()
        self._origin = Origin(submission.sender())
        self._request_id = new_request_id(self._now)

    @property
    def event(self) -> ImageEvent:
        return ImageEvent(self._request_id, event_time(self._request_id), None, self._origin)

    def accept(self, rules: IntakeRules, fetch: Fetch | None, spec: InputSpec | None) -> Outcome:
        """Raises what is wrong with the request."""
        request = self._submission.request(keys_wanted=bool(rules.keys.digests))
        sender, file_name = self._origin.sender, clean_file_name(request.file_name)
        declared = (request.declared_type or "")[:_MOST_TYPE] or None
        self._origin = Origin(sender, None, None, file_name, declared, request.size)
        user = check_access(request, rules)
        if user:
            self._origin = Origin(sender, None, user, file_name, declared, request.size)
        if request.idempotency_key:  # not before the access check: it names the row that will be overwritten
            # Its age is judged as it was when it came: what was acknowledged may have waited for longer than a key lives.
            came = self._submission.received() or self._now
            self._request_id = request_id_from_key(request.idempotency_key, came, request.part or 1)
        check_request(request, rules)
        accepted = check_content(request, self._submission.content(), rules, fetch=fetch, spec=spec)
        image_facts = accepted.facts
        origin = Origin(
            sender, None, user, accepted.file_name or file_name, accepted.declared_type, len(accepted.image)
        )
        facts = Facts(
            accepted.image_id,
            image_facts.format,
            image_facts.width,
            image_facts.height,
            image_facts.color_mode,
            image_facts.frames,
        )
        event = ImageEvent(self._request_id, event_time(self._request_id), ACCEPTED, origin, facts)
        return Outcome(SUCCESS, event, accepted.image if accepted.unwrapped else None, accepted.decoded)
