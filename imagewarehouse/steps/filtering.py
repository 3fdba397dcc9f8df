"""FilterImageRequest: lets only whole images in, and gives each request its id and time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from imagewarehouse.errors import ImageRejected, Unavailable, WarehouseError
from imagewarehouse.forms import FormFile, kept_fields, parse_form
from imagewarehouse.ids import event_time, new_request_id, request_id_from_key, utc_now
from imagewarehouse.images.decoding import InputSpec
from imagewarehouse.intake import (
    IntakeRules,
    Request,
    check_access,
    check_content,
    check_request,
    clean_file_name,
    files_of,
    is_form,
    is_nothing,
)
from imagewarehouse.metadata import ACCEPTED, notes_text
from imagewarehouse.metadata import REJECTED as STATUS_REJECTED
from imagewarehouse.objects.fetching import Fetcher
from imagewarehouse.steps.event import Facts, ImageEvent, Origin, Problem, Sender, Submission
from imagewarehouse.steps.outcome import REJECTED, SUCCESS, UNEXPECTED, Outcome
from imagewarehouse.text import printable

log = logging.getLogger("imagewarehouse")

_MOST_TYPE = 255  # characters of a declared type that are kept
_DECODED_AHEAD = 64  # files of a form whose pixels are kept for the model, as many as a package has
Fetch = Callable[[str, int], bytes]


class FilterRequests:
    """The first step. Thread-safe."""

    name = "FilterImageRequest"

    def __init__(self, rules: IntakeRules, fetcher: Fetcher | None = None) -> None:
        """`fetcher`: reads what an image_uri names; None switches image_uri off."""
        self.rules = rules
        self._fetcher = fetcher

    def process(self, submissions: Sequence[Submission], spec: InputSpec | None = None) -> list[Sequence[Outcome]]:
        """What became of each request: an outcome for each file of a form, and one for anything else. None of them is
        without an id, whatever is wrong with it. Of a form that its listener took apart, parts without a file have none.

        Args: spec: what a model of this process takes; then the picture is decoded once for the check and for the model.
        """
        if self._fetcher is None:
            return [self._check(submission, None, spec) for submission in submissions]
        return self._fetcher.for_each(lambda submission, fetch: self._check(submission, fetch, spec), submissions)

    def close(self) -> None:
        if self._fetcher is not None:
            self._fetcher.close()

    def _check(self, submission: Submission, fetch: Fetch | None, spec: InputSpec | None) -> Sequence[Outcome]:
        # First of all: whatever happens to the request, its row, its answer and the log lines about it name this id.
        judged = _Judged(submission.sender(), submission.given_id())

        def judge_whole() -> Sequence[Outcome]:
            request = submission.request(keys_wanted=bool(self.rules.keys.digests))
            if is_nothing(request):
                return ()
            judged.admit(request, self.rules, submission.received)
            check_request(request, self.rules)
            content = submission.content()
            if not is_form(request):
                return (judged.accept(request, content, self.rules, fetch, spec),)
            form = parse_form(content, request.declared_type or "")
            judged.fields = kept_fields(form, self.rules.keep_fields)
            return [judge_file(number, one) for number, one in enumerate(files_of(request, form), start=1)]

        def judge_file(number: int, one: FormFile) -> Outcome:
            # Pixels for the model are large, and a form may have many files.
            own_spec = spec if number <= _DECODED_AHEAD else None
            part, request = judged.part(number, one)

            def judge() -> Sequence[Outcome]:
                check_request(request, self.rules)
                return (part.accept(request, one.content, self.rules, fetch, own_spec),)

            (outcome,) = self._judge(part, judge)
            return outcome if outcome.content is not None else replace(outcome, content=one.content)

        return self._judge(judged, judge_whole)

    def _judge(self, judged: _Judged, judge: Callable[[], Sequence[Outcome]]) -> Sequence[Outcome]:
        try:
            return judge()
        except ImageRejected as err:
            event = replace(judged.event, status=STATUS_REJECTED, problem=Problem.of(err))
            return (Outcome(REJECTED, event),)
        except Unavailable as err:  # a store that an image_uri leads to
            log.warning("%s: request %s: %s", self.name, judged.event.request_id, err)
            failure: WarehouseError = err
        except Exception:
            log.exception("%s: request %s", self.name, judged.event.request_id)
            failure = WarehouseError(UNEXPECTED)
        return (Outcome(REJECTED, judged.event.failed(failure)),)


class _Judged:
    """A request, or a file of one, while it is judged: what is known of it, as soon as it is known."""

    def __init__(self, sender: Sender, request_id: str | None = None) -> None:
        self.fields: str | None = None
        self._now = utc_now()
        self._origin = Origin(sender)
        self._given = request_id
        self._request_id = request_id or new_request_id(self._now)
        self._of_key: Callable[[int], str] | None = None  # the id of a part, where there is an Idempotency-Key

    @property
    def event(self) -> ImageEvent:
        origin = self._origin if self.fields is None else replace(self._origin, fields=self.fields)
        return ImageEvent(self._request_id, event_time(self._request_id), None, origin)

    def admit(self, request: Request, rules: IntakeRules, received: Callable[[], datetime | None]) -> None:
        """Look who it is from. Raises MethodNotAllowed, AccessKeyMissing, AccessKeyWrong, NotAllowed, BadIdempotencyKey."""
        self._describe(request)
        user = check_access(request, rules)
        if user:
            self._origin = replace(self._origin, source_user=user)
        if key := request.idempotency_key:  # not before the access check: it names the row that will be overwritten
            # Its age is judged as it was when it came: what was acknowledged may have waited for longer than a key lives.
            came = received() or self._now
            owner = None if key == self._given else user  # what the listener gave is nobody else's
            self._of_key = lambda part: request_id_from_key(key, came, part, owner)
            self._request_id = self._of_key(request.part or 1)

    def part(self, number: int, file: FormFile) -> tuple[_Judged, Request]:
        """A file of this form: from the same sender, with an id of its own that is the same at every retry."""
        declared = None if file.declared_type is None else printable(file.declared_type)
        request = Request(len(file.content), declared, file_name=file.file_name, part=number)
        part = _Judged(self._origin.sender)
        part.fields = self.fields
        part._origin = Origin(self._origin.sender, None, self._origin.source_user)
        part._describe(request)
        if self._of_key is not None:
            part._request_id = self._of_key(number)
        elif number == 1:
            part._request_id = self._request_id
        return part, request

    def accept(
        self, request: Request, content: bytes, rules: IntakeRules, fetch: Fetch | None, spec: InputSpec | None
    ) -> Outcome:
        """Raises what is wrong with the image."""
        accepted = check_content(request, content, rules, fetch=fetch, spec=spec)
        image_facts, origin = accepted.facts, self._origin
        origin = Origin(
            origin.sender,
            None,
            origin.source_user,
            accepted.file_name or origin.file_name,
            accepted.declared_type,
            len(accepted.image),
            self.fields,
        )
        facts = Facts(
            accepted.image_id,
            image_facts.format,
            image_facts.width,
            image_facts.height,
            image_facts.color_mode,
            image_facts.frames,
            notes_text(image_facts.notes),
        )
        event = ImageEvent(self._request_id, event_time(self._request_id), ACCEPTED, origin, facts)
        return Outcome(SUCCESS, event, accepted.image if accepted.unwrapped else None, accepted.decoded)

    def _describe(self, request: Request) -> None:
        origin = self._origin
        declared = (request.declared_type or "")[:_MOST_TYPE] or None
        file_name = clean_file_name(request.file_name)
        self._origin = Origin(origin.sender, None, origin.source_user, file_name, declared, request.size)
