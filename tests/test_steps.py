"""The steps without NiFi: images in, an outcome for each out, whatever is wrong with some of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from imagewarehouse.access import AccessKeys
from imagewarehouse.addresses import parse_networks
from imagewarehouse.errors import (
    ModelBroken,
    ModelUnavailable,
    NotAnImage,
    ObjectStoreUnavailable,
    RowRejected,
    RowStoreUnavailable,
    WarehouseError,
)
from imagewarehouse.ids import event_time, new_request_id, request_id_from_key, utc_now
from imagewarehouse.images.decoding import Decoded, check_and_decode, decode_rgb
from imagewarehouse.images.formats import sniff
from imagewarehouse.intake import IntakeRules, Request
from imagewarehouse.limits import Limits
from imagewarehouse.metadata import ACCEPTED, CLASSIFIED, COLUMNS, FAILED, ImageRecord
from imagewarehouse.metadata import REJECTED as STATUS_REJECTED
from imagewarehouse.models.classifier import Classifier, load_classifier
from imagewarehouse.objects.images import ImageStore
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.opening import open_store
from imagewarehouse.rows.store import GroupCommit
from imagewarehouse.steps.classifying import ClassifyImages, NoModel
from imagewarehouse.steps.enriching import EnrichMetadata
from imagewarehouse.steps.event import (
    Classification,
    Facts,
    Image,
    ImageEvent,
    Origin,
    Problem,
    Sender,
    Submission,
)
from imagewarehouse.steps.filtering import FilterRequests
from imagewarehouse.steps.outcome import (
    FAILURE,
    REFUSED,
    REJECTED,
    RETRY,
    SUCCESS,
    Outcome,
    Step,
    common_way,
    guarded,
    run,
)
from imagewarehouse.steps.recording import RecordImages
from imagewarehouse.steps.storing import StoreImages
from tests import hostile

KEY = "alice-0123456789abcdef"
WAITS = Sender("a client", "203.0.113.9")
NOBODY = Sender(None, "203.0.113.9")


class AnImage(Image):
    """An image of nobody's FlowFile; counts how often its content is read."""

    def __init__(self, event: ImageEvent, content: bytes = hostile.PNG, decoded: Decoded | None = None,
                 unreadable: RowRejected | None = None, **headers: str) -> None:  # fmt: skip
        super().__init__(event, decoded, unreadable)
        self.reads = 0
        self._content, self._headers = content, headers

    def content(self) -> bytes:
        self.reads += 1
        return self._content

    def header(self, name: str) -> str | None:
        return self._headers.get(name.replace("-", "_"))


class ASubmission(Submission):
    def __init__(self, content: bytes = hostile.PNG, declared: str | None = "image/png", sender: Sender = NOBODY,
                 **more: Any) -> None:  # fmt: skip
        self._content, self._sender = content, sender
        self._request = {"size": len(content), "declared_type": declared, "synchronous": sender.waits, **more}
        self.keys_wanted: bool | None = None
        self.came: datetime | None = None

    def sender(self) -> Sender:
        return self._sender

    def received(self) -> datetime | None:
        return self.came

    def request(self, *, keys_wanted: bool) -> Request:
        self.keys_wanted = keys_wanted
        return Request(**self._request)

    def content(self) -> bytes:
        return self._content


def event(status: str = ACCEPTED, sender: Sender = NOBODY, **more: Any) -> ImageEvent:
    request_id = new_request_id(utc_now())
    more.setdefault("facts", Facts(format="PNG"))
    return ImageEvent(request_id, event_time(request_id), status, origin=Origin(sender), **more)


def check(*submissions: Submission, **more: Any) -> list[Outcome]:
    """An outcome for each of them: none is a form."""
    outcomes = []
    for of_one in FilterRequests(IntakeRules(**more)).process(submissions):
        (outcome,) = of_one
        outcomes.append(outcome)
    return outcomes


# --- the check ------------------------------------------------------------------------------------------------------


def test_a_good_image_is_accepted_with_its_facts() -> None:
    (outcome,) = check(ASubmission(file_name="a.png"))
    found = outcome.event
    assert (outcome.way, found.status, outcome.content) == (SUCCESS, ACCEPTED, None)
    assert found.facts.image_id == hashlib.sha256(hostile.PNG).hexdigest()
    assert (found.facts.format, found.origin.size_bytes, found.origin.file_name) == ("PNG", len(hostile.PNG), "a.png")
    assert found.event_time == event_time(found.request_id or "")
    assert found.origin.sender == NOBODY


def test_each_request_has_its_own_verdict_and_an_id() -> None:
    outcomes = check(ASubmission(), ASubmission(b"text"), ASubmission(declared="image/gif"), ASubmission())
    assert [outcome.way for outcome in outcomes] == [SUCCESS, REJECTED, REJECTED, SUCCESS]
    codes = [outcome.event.problem.error_code for outcome in outcomes]
    assert codes == [None, "image.not_an_image", "image.type_mismatch", None]
    assert len({outcome.event.request_id for outcome in outcomes}) == 4
    assert all(outcome.event.facts == Facts() for outcome in outcomes if outcome.way == REJECTED)


def test_no_requests_have_no_outcomes() -> None:
    assert check() == []


def test_a_key_names_the_request_only_behind_the_access_check() -> None:
    key = new_request_id(utc_now())
    keys = AccessKeys.parse(f"alice:{KEY}")
    stranger, alice = check(
        ASubmission(idempotency_key=key), ASubmission(idempotency_key=key, access_key=KEY), keys=keys
    )
    assert stranger.event.request_id != key
    assert stranger.event.problem.error_code == "access.key_missing"
    assert (alice.event.request_id, alice.event.origin.source_user) == (
        request_id_from_key(key, utc_now(), user="alice"),
        "alice",
    )


def test_nobody_overwrites_the_row_of_somebody_else() -> None:
    keys = AccessKeys.parse(f"alice:{KEY} bob:bob-{KEY}")
    key = new_request_id(utc_now())
    alice, again, bob = check(
        ASubmission(idempotency_key=key, access_key=KEY), ASubmission(idempotency_key=key, access_key=KEY),
        ASubmission(idempotency_key=key, access_key=f"bob-{KEY}"), keys=keys,
    )  # fmt: skip
    assert alice.event.request_id == again.event.request_id != bob.event.request_id
    (mallory,) = check(ASubmission(idempotency_key=alice.event.request_id, access_key=f"bob-{KEY}"), keys=keys)
    assert len({key, alice.event.request_id, bob.event.request_id, mallory.event.request_id}) == 4
    for outcome in (alice, bob, mallory):
        assert outcome.way == SUCCESS
        assert outcome.event.event_time == event_time(key)


def test_the_age_of_a_key_is_judged_as_it_was_when_the_request_came() -> None:
    came = utc_now() - timedelta(days=30)
    key = new_request_id(came)
    late, fresh = ASubmission(idempotency_key=key), ASubmission(idempotency_key=key)
    late.came = came
    taken, refused = check(late, fresh)
    assert (taken.way, taken.event.request_id) == (SUCCESS, key)
    assert refused.event.problem.error_code == "request.bad_idempotency_key"


@pytest.mark.parametrize("keys", [True, False])
def test_a_key_is_only_asked_for_where_keys_are_checked(keys: bool) -> None:
    submission = ASubmission()
    check(submission, keys=AccessKeys.parse(f"alice:{KEY}" if keys else ""))
    assert submission.keys_wanted is keys


@pytest.mark.parametrize("where", ["request", "content"])
def test_a_submission_that_trips_our_code_is_failed_and_logged_by_its_id(
    caplog: pytest.LogCaptureFixture, where: str
) -> None:
    def trips(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a secret")

    broken = ASubmission()
    setattr(broken, where, trips)
    outcomes = check(broken, ASubmission())
    assert [outcome.event.status for outcome in outcomes] == [FAILED, ACCEPTED]
    assert outcomes[0].way == REJECTED
    assert outcomes[0].event.problem.error_code == WarehouseError.code
    assert "secret" not in (outcomes[0].event.problem.error_detail or "")
    assert f"FilterImageRequest: request {outcomes[0].event.request_id}" in caplog.text


def test_a_picture_is_decoded_once_for_the_check_and_for_a_model(colour_model: Path) -> None:
    spec = load_classifier(colour_model).manifest.spec
    ((with_spec,),) = FilterRequests(IntakeRules()).process([ASubmission()], spec)
    assert with_spec.decoded is not None
    assert (with_spec.decoded.pixels == decode_rgb(hostile.PNG, spec, "PNG")).all()
    assert check(ASubmission())[0].decoded is None


@pytest.mark.parametrize(
    "content",
    [pytest.param(case.body(), id=case.id) for case in hostile.CASES
     if not case.limits and not case.rules and not case.request and len(case.body()) < 100_000]
    + [pytest.param(content, id=f"good-{name}") for name, (_, content) in hostile.HEALTHY.items()],
)  # fmt: skip
def test_the_check_says_the_same_with_a_model_in_mind(content: bytes, colour_model: Path) -> None:
    spec = load_classifier(colour_model).manifest.spec
    found = sniff(content)
    if found is None:
        return

    def verdict(**more: Any) -> Any:
        try:
            return check_and_decode(content, found, Limits(), **more)
        except WarehouseError as err:
            return err.code, None

    (plain, _), (seen, decoded) = verdict(), verdict(spec=spec)
    assert seen == plain
    if decoded is not None:
        assert (decoded.pixels == decode_rgb(content, spec, found.name)).all()


# --- the origin -----------------------------------------------------------------------------------------------------


def enrich(image: Image, *trusted: str, keep_gps: bool = False) -> Outcome:
    (outcome,) = EnrichMetadata(parse_networks(",".join(trusted)), keep_gps=keep_gps).process([image])
    return outcome


def test_the_address_and_the_certificate_are_those_of_the_sender() -> None:
    found = enrich(AnImage(event(sender=Sender(None, "203.0.113.9", "CN=alice")))).event.origin
    assert (found.source_ip, found.source_user) == ("203.0.113.9", "CN=alice")


def test_whom_a_key_named_stays() -> None:
    came = event(sender=Sender(None, "203.0.113.9", "CN=alice"))
    came = replace(came, origin=replace(came.origin, source_user="bob"))
    assert enrich(AnImage(came)).event.origin.source_user == "bob"


@pytest.mark.parametrize(("trusted", "expected"), [([], "203.0.113.9"), (["203.0.113.0/24"], "198.51.100.1")])
def test_a_proxy_is_believed_where_it_is_trusted(trusted: list[str], expected: str) -> None:
    image = AnImage(event(), X_Forwarded_For="198.51.100.1")
    assert enrich(image, *trusted).event.origin.source_ip == expected


def test_what_has_ended_gets_its_origin_and_nothing_is_read() -> None:
    image = AnImage(event(STATUS_REJECTED, facts=Facts()))
    outcome = enrich(image, keep_gps=True)
    assert (outcome.way, outcome.event.origin.source_ip, image.reads) == (REJECTED, "203.0.113.9", 0)


def test_a_position_that_came_along_is_not_believed() -> None:
    outcome = enrich(AnImage(event(facts=Facts(format="PNG", gps_latitude=1.0, gps_longitude=2.0))))
    assert outcome.event.facts == Facts(format="PNG")


def test_facts_that_nobody_found_are_found() -> None:
    outcome = enrich(AnImage(event(facts=Facts())))
    assert (outcome.way, outcome.event.facts.format) == (SUCCESS, "PNG")
    assert outcome.event.origin.size_bytes == len(hostile.PNG)


def test_what_is_no_image_fails() -> None:
    outcome = enrich(AnImage(event(facts=Facts()), b"text"))
    assert (outcome.way, outcome.event.status, outcome.event.problem.error_code) == (FAILURE, FAILED, NotAnImage.code)


# --- the store ------------------------------------------------------------------------------------------------------


def store(folder: Path) -> StoreImages:
    return StoreImages(ImageStore(open_store(Location.parse(str(folder)))))


@pytest.mark.parametrize("handed_over", [False, True])
def test_an_id_is_believed_only_of_a_step_of_this_process(tmp_path: Path, handed_over: bool) -> None:
    claimed = replace(event(), facts=Facts(image_id="0" * 64, format="PNG"))
    image = AnImage(claimed)
    image.of_this_process = handed_over
    (outcome,) = store(tmp_path / "objects").process([image])
    assert outcome.way == (SUCCESS if handed_over else FAILURE)
    assert len([path for path in (tmp_path / "objects").rglob("*") if path.is_file()]) == handed_over


def test_images_are_kept_under_the_sha256_of_their_bytes(tmp_path: Path) -> None:
    outcomes = store(tmp_path / "objects").process([AnImage(event()), AnImage(event())])
    assert {outcome.way for outcome in outcomes} == {SUCCESS}
    image_id = hashlib.sha256(hostile.PNG).hexdigest()
    assert [outcome.event.facts.image_id for outcome in outcomes] == [image_id] * 2
    (path,) = (path for path in (tmp_path / "objects").rglob("*") if path.is_file())
    assert path.read_bytes() == hostile.PNG
    assert {outcome.event.storage_uri for outcome in outcomes} == {path.as_uri()}


@pytest.mark.parametrize(("sender", "way"), [(NOBODY, RETRY), (WAITS, REFUSED)])
def test_a_store_that_is_away_is_waited_for_unless_a_client_waits(tmp_path: Path, sender: Sender, way: str) -> None:
    (tmp_path / "objects").write_bytes(b"")
    came = event(sender=sender, storage_uri="file:///made-up")
    (outcome,) = store(tmp_path / "objects").process([AnImage(came)])
    assert outcome.way == way
    if way == RETRY:
        assert outcome.event is came
    else:
        assert (outcome.event.status, outcome.event.storage_uri) == (FAILED, None)
        assert outcome.event.problem.error_code == ObjectStoreUnavailable.code


# --- the model ------------------------------------------------------------------------------------------------------


@pytest.fixture
def classifier(colour_model: Path) -> Classifier:
    return load_classifier(colour_model)


def test_images_are_classified(classifier: Classifier, picture: Callable[..., bytes]) -> None:
    images = [AnImage(event(), picture(colour=colour)) for colour in ("red", "blue")]
    outcomes = ClassifyImages(classifier).process(images)
    assert [outcome.event.classification.predicted_class for outcome in outcomes] == ["red", "blue"]
    assert {outcome.event.status for outcome in outcomes} == {CLASSIFIED}


def test_an_image_that_does_not_decode_fails_alone_and_keeps_no_class(
    classifier: Classifier, picture: Callable[..., bytes]
) -> None:
    broken = event(classification=Classification("made up", 1.0))
    outcomes = ClassifyImages(classifier).process([AnImage(event(), picture()), AnImage(broken, b"text")])
    assert [outcome.way for outcome in outcomes] == [SUCCESS, FAILURE]
    assert outcomes[1].event.classification == Classification()


def test_a_picture_that_was_decoded_for_this_model_is_not_read_again(
    classifier: Classifier, picture: Callable[..., bytes]
) -> None:
    spec = classifier.manifest.spec
    decoded = Decoded(spec, decode_rgb(picture(colour="blue"), spec), 1.5)
    image = AnImage(event(), picture(colour="red"), decoded)
    (outcome,) = ClassifyImages(classifier).process([image])
    assert (outcome.event.classification.predicted_class, image.reads) == ("blue", 0)
    assert outcome.event.classification.preprocess_ms == 1.5


def test_a_picture_that_was_decoded_for_another_model_is_read(
    classifier: Classifier, picture: Callable[..., bytes]
) -> None:
    spec = replace(classifier.manifest.spec, width=3)
    image = AnImage(event(), picture(colour="red"), Decoded(spec, decode_rgb(picture(colour="blue"), spec), 1.5))
    (outcome,) = ClassifyImages(classifier).process([image])
    assert (outcome.event.classification.predicted_class, image.reads) == ("red", 1)


def test_where_there_is_no_model_every_image_is_told_so() -> None:
    came = event(classification=Classification("made up", 1.0))
    outcomes = NoModel(ModelBroken("no manifest")).process([AnImage(came), AnImage(event())])
    assert [(o.way, o.event.problem.error_code) for o in outcomes] == [(FAILURE, ModelBroken.code)] * 2
    assert outcomes[0].event.classification == Classification()


# --- the rows -------------------------------------------------------------------------------------------------------


class Rows:
    """Keeps rows, or gives an error for each."""

    def __init__(self, error: WarehouseError | None = None) -> None:
        self.rows: list[ImageRecord] = []
        self.error = error

    def write(self, items: Sequence[ImageRecord], /) -> Sequence[WarehouseError | None]:
        if self.error is None:
            self.rows += items
        return [self.error] * len(items)

    def close(self) -> None: ...


def record_images(rows: Rows, *images: Image, **more: Any) -> list[Outcome]:
    return RecordImages(GroupCommit(rows), "a node", **more).process(images)


def test_each_image_has_a_row_with_the_node_and_the_time_it_took() -> None:
    rows = Rows()
    outcomes = record_images(rows, AnImage(event(CLASSIFIED)), AnImage(event(STATUS_REJECTED)))
    assert [outcome.way for outcome in outcomes] == [SUCCESS, SUCCESS]
    assert [row.status for row in rows.rows] == [CLASSIFIED, STATUS_REJECTED]
    assert {row.node for row in rows.rows} == {"a node"}
    assert all(row.total_ms is not None and 0 <= row.total_ms < 60_000 for row in rows.rows)


@pytest.mark.parametrize(("answer_all", "told"), [(False, [True, False]), (True, [True, True])])
def test_those_who_wait_are_answered(answer_all: bool, told: list[bool]) -> None:
    images = [AnImage(event(CLASSIFIED, sender)) for sender in (WAITS, NOBODY)]
    outcomes = record_images(Rows(), *images, answer_all=answer_all)
    assert [outcome.answer is not None for outcome in outcomes] == told
    assert outcomes[0].answer is not None
    assert outcomes[0].answer.status == 200


@pytest.mark.parametrize(("sender", "way"), [(NOBODY, RETRY), (WAITS, REFUSED)])
def test_rows_that_cannot_be_written_now_are_tried_again(sender: Sender, way: str) -> None:
    came = event(CLASSIFIED, sender)
    (outcome,) = record_images(Rows(RowStoreUnavailable("a host of ours")), AnImage(came))
    assert outcome.way == way
    if way == RETRY:
        assert outcome.event is came
    else:
        assert outcome.answer is not None
        assert outcome.answer.status == 503
        assert b"a host of ours" not in outcome.answer.body


@pytest.mark.parametrize(("sender", "way"), [(NOBODY, FAILURE), (WAITS, REFUSED)])
@pytest.mark.parametrize("why", ["unreadable", "no-key", "the-store"])
def test_a_row_that_can_never_be_written_costs_only_itself(sender: Sender, way: str, why: str) -> None:
    good, came = event(CLASSIFIED), event(CLASSIFIED, sender)
    bad = {
        "unreadable": AnImage(came, unreadable=RowRejected("often")),
        "no-key": AnImage(replace(came, event_time=None)),
        "the-store": AnImage(came),
    }[why]
    rows = Rows(RowRejected("no such column") if why == "the-store" else None)
    outcomes = record_images(rows, bad, AnImage(good))
    assert (outcomes[0].way, outcomes[0].event.problem.error_code) == (way, RowRejected.code)
    if why != "the-store":
        assert outcomes[1].way == SUCCESS
        assert [row.request_id for row in rows.rows] == [good.request_id]


def test_an_answer_that_cannot_be_made_is_an_answer_that_says_so(caplog: pytest.LogCaptureFixture) -> None:
    came = event(CLASSIFIED, WAITS, classification=Classification("frog", 0.5, "no json"))
    (outcome,) = record_images(Rows(), AnImage(came))
    assert outcome.answer is not None
    assert (outcome.way, outcome.answer.status) == (REFUSED, 500)
    assert "JSONDecodeError" in caplog.text


# --- how a step is run ----------------------------------------------------------------------------------------------


class Told:
    """A step that does what it is told."""

    name = "Told"
    answers = False
    fatal = None
    reads: Sequence[str] = ()
    owns: Sequence[str] = ()

    def __init__(self, process: Callable[[Sequence[Image]], Sequence[Outcome]], *, takes_ended: bool = True) -> None:
        self.process = process
        self.takes_ended = takes_ended


def numbered(count: int, status: str = ACCEPTED) -> list[AnImage]:
    return [AnImage(event(status, facts=Facts(width=n))) for n in range(count)]


def width(image: Image) -> int:
    assert image.event.facts.width is not None
    return image.event.facts.width


def passed(images: Sequence[Image]) -> list[Outcome]:
    return [Outcome(SUCCESS, image.event) for image in images]


def test_work_that_fails_as_a_whole_is_done_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[list[int]] = []

    def process(images: Sequence[Image]) -> list[Outcome]:
        calls.append([width(image) for image in images])
        if any(width(image) == 1 for image in images):
            raise ZeroDivisionError("a defect")
        return passed(images)

    images = numbered(4)
    outcomes = run(Told(process), images)
    assert calls == [[0, 1, 2, 3], [0], [1], [2], [3]]
    assert [outcome.way if outcome else None for outcome in outcomes] == [SUCCESS, FAILURE, SUCCESS, SUCCESS]
    assert outcomes[1] is not None
    assert outcomes[1].event.problem == Problem("internal", "an unexpected error, see the log")
    assert f"Told: request {images[1].event.request_id}" in caplog.text
    assert "ZeroDivisionError: a defect" in caplog.text


def test_work_that_fails_late_fails_the_same_way() -> None:
    def process(images: Sequence[Image]) -> Any:
        for image in images:
            if width(image) == 2:
                raise ZeroDivisionError("a defect")
            yield Outcome(SUCCESS, image.event)

    outcomes = run(Told(process), numbered(3))
    assert [outcome and outcome.event.status for outcome in outcomes] == [ACCEPTED, ACCEPTED, FAILED]


def test_work_for_nobody_is_not_done() -> None:
    """The rest of the way of images that have all ended: a step that cannot work must not fail them."""

    def process(images: Sequence[Image]) -> list[Outcome]:
        raise AssertionError("called")

    ended = [*numbered(1, STATUS_REJECTED), *numbered(1, FAILED)]
    assert run(Told(process, takes_ended=False), ended) == [None, None]
    assert run(Told(process), []) == []


@pytest.mark.parametrize("takes_ended", [True, False])
def test_what_has_ended_is_passed_over_unless_the_step_takes_it(takes_ended: bool) -> None:
    images = [*numbered(2), *numbered(1, FAILED), *numbered(1)]
    outcomes = run(Told(passed, takes_ended=takes_ended), images)
    assert [outcome is not None for outcome in outcomes] == [True, True, takes_ended, True]
    assert all(outcome.event is image.event for outcome, image in zip(outcomes, images, strict=True) if outcome)


@pytest.mark.parametrize("count", [2, 4])
def test_outcomes_for_too_few_or_too_many_images_are_a_defect(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} outcomes for 3 images"):
        guarded(lambda items: [Outcome(SUCCESS, event())] * count, numbered(3), lambda item: Outcome(FAILURE, event()))


PASSES, LASTS = Problem(ModelUnavailable.code), Problem(ModelBroken.code)


@pytest.mark.parametrize(
    ("found", "fatal", "expected"),
    [
        pytest.param([SUCCESS] * 3, None, SUCCESS, id="all-alike"),
        pytest.param([REJECTED] * 3, None, REJECTED, id="all-rejected"),
        pytest.param([SUCCESS, REJECTED, FAILURE], None, SUCCESS, id="mixed"),
        pytest.param([FAILURE, REJECTED], None, SUCCESS, id="mixed-without-a-success"),
        pytest.param([FAILURE, FAILURE], None, SUCCESS, id="all-failed-for-good"),
        pytest.param([SUCCESS, FAILURE, SUCCESS], FAILURE, FAILURE, id="a-fatal-one"),
        pytest.param([SUCCESS, RETRY, SUCCESS], None, RETRY, id="one-to-be-tried-again"),
        pytest.param([FAILURE, RETRY], FAILURE, RETRY, id="trying-again-comes-before-a-fatal-one"),
        pytest.param([SUCCESS, (FAILURE, PASSES)], None, FAILURE, id="one-that-may-pass"),
        pytest.param([(REFUSED, LASTS), (REFUSED, PASSES)], None, REFUSED, id="one-that-may-pass-among-refused"),
        pytest.param([(REFUSED, LASTS)] * 2, None, SUCCESS, id="refused-for-good"),
        pytest.param([(REJECTED, PASSES), SUCCESS], None, SUCCESS, id="rejected-is-not-tried-again"),
        pytest.param([None, REJECTED, None], None, REJECTED, id="those-that-were-passed-over-do-not-count"),
        pytest.param([None], None, SUCCESS, id="all-passed-over"),
        pytest.param([], FAILURE, SUCCESS, id="nobody-and-nothing-fatal"),
    ],
)
def test_images_go_on_together(found: list[Any], fatal: str | None, expected: str) -> None:
    outcomes = []
    for one in found:
        way, problem = one if isinstance(one, tuple) else (one, LASTS)
        outcomes.append(None if one is None else Outcome(way, event(FAILED, problem=problem)))
    assert common_way(outcomes, fatal) == expected


def test_what_a_step_reads_and_what_it_alone_sets_are_columns(classifier: Classifier, tmp_path: Path) -> None:
    steps: list[Step] = [EnrichMetadata(), store(tmp_path), ClassifyImages(classifier), NoModel(WarehouseError("x")),
                         RecordImages(GroupCommit(Rows()), "a node")]  # fmt: skip
    names = {column.name for column in COLUMNS}
    for step in steps:
        assert {*step.reads, *step.owns} <= names
        assert {"status", "request_id"} <= set(step.reads)
        assert not {*step.reads} & {*step.owns}
