"""What an operator sees who opens the flow in NiFi, in a window of 1440 x 900.

NiFi 2.9 fits a group into the window when it is opened, and lays its two panels over the left upper corner. The numbers
here are what its UI does and draws, measured in a browser; see tools/screenshots.mjs for pictures of it.
"""

from __future__ import annotations

import itertools
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from imagewarehouse.flows import build
from imagewarehouse.flows.build import FUNNEL_SIZE, GROUP_SIZE, PORT_SIZE, PROCESSOR_SIZE
from imagewarehouse.flows.definition import read_json, walk_groups

Raw = dict[str, Any]
Point = tuple[float, float]

CANVAS = (1440.0, 770.0)  # what a window of 1440 x 900 leaves of it
MARGIN = 25.0  # that NiFi leaves around what it fits
PANELS = (290.0, 458.0)  # from the upper left corner
READABLE = 0.6  # a processor's name is 8 pixels high then; below 0.4 NiFi draws no names at all
GAP = 6.0  # between two things, so that they do not look like one
CHARACTER, LINE, PARAGRAPH, PADDING = 9.6, 22.5, 6.0, 8.0  # of a label's text; NiFi leaves out what has no room
NAME = 25  # characters of a connection's name for which there is room

_SIZES = {
    "processors": PROCESSOR_SIZE,
    "processGroups": GROUP_SIZE,
    "inputPorts": PORT_SIZE,
    "outputPorts": PORT_SIZE,
    "funnels": FUNNEL_SIZE,
}
_ROW, _ROWS = 240.0, (22.0, 41.0, 61.0, 80.0)  # width of what is written on a connection, heights by the number of rows


@dataclass(frozen=True, slots=True)
class Box:
    name: str
    left: float
    top: float
    right: float
    bottom: float

    @property
    def centre(self) -> Point:
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def meets(self, other: Box, gap: float = 0) -> bool:
        return (
            self.left < other.right + gap
            and other.left < self.right + gap
            and self.top < other.bottom + gap
            and other.top < self.bottom + gap
        )

    def edge(self, towards: Point) -> Point:
        """Where a line from the centre leaves."""
        (x, y), (to_x, to_y) = self.centre, towards
        across, down = to_x - x, to_y - y
        share = min(
            (self.right - x) / abs(across) if across else float("inf"),
            (self.bottom - y) / abs(down) if down else float("inf"),
        )
        return x + across * share, y + down * share

    def crossed(self, start: Point, end: Point) -> bool:
        """Whether a line from `start` to `end` passes through: clips it at each side in turn."""
        enter, leave = 0.0, 1.0
        for begin, delta, low, high in (
            (start[0], end[0] - start[0], self.left, self.right),
            (start[1], end[1] - start[1], self.top, self.bottom),
        ):
            if delta == 0:
                if not low < begin < high:
                    return False
                continue
            first, second = sorted(((low - begin) / delta, (high - begin) / delta))
            enter, leave = max(enter, first), min(leave, second)
        return enter < leave


@dataclass(frozen=True, slots=True)
class Line:
    """A connection."""

    ends: tuple[Box, Box]
    points: tuple[Point, ...]
    written: Box


@dataclass(frozen=True, slots=True)
class View:
    """One group as NiFi draws it."""

    boxes: tuple[Box, ...]  # components and labels
    lines: tuple[Line, ...]

    @property
    def written(self) -> tuple[Box, ...]:
        return (*self.boxes, *(line.written for line in self.lines))

    @property
    def whole(self) -> Box:
        xs = [x for box in self.written for x in (box.left, box.right)]
        ys = [y for box in self.written for y in (box.top, box.bottom)]
        for line in self.lines:
            xs += [x for x, _ in line.points]
            ys += [y for _, y in line.points]
        return Box("all", min(xs), min(ys), max(xs), max(ys))

    def fitted(self) -> tuple[float, Box]:
        """The scale that NiFi opens it at, and what lies under the panels then."""
        whole = self.whole
        width, height = (size - 2 * MARGIN for size in CANVAS)
        across, down = whole.right - whole.left, whole.bottom - whole.top
        scale, left, top = 1.0, whole.left, whole.top
        if across > width or down > height:
            scale = min(width / across, height / down)
        else:
            left, top = left - (width - across) / 2, top - (height - down) / 2
        right, bottom = (left + (PANELS[0] - MARGIN) / scale, top + (PANELS[1] - MARGIN) / scale)
        return scale, Box("panels", left - MARGIN / scale, top - MARGIN / scale, right, bottom)


def _box(item: Raw, size: tuple[float, float]) -> Box:
    x, y = item["position"]["x"], item["position"]["y"]
    return Box(item.get("name") or item.get("label") or "funnel", x, y, x + size[0], y + size[1])


def view(group: Raw) -> View:
    by_identifier = {item["identifier"]: _box(item, size) for kind, size in _SIZES.items() for item in group[kind]}
    labels = [_box(label, (label["width"], label["height"])) for label in group["labels"]]
    lines = []
    for connection in group["connections"]:
        ends, outside = [], 0
        for end in (connection["source"], connection["destination"]):
            inside = end["groupId"] == group["identifier"]
            ends.append(by_identifier[end["id"] if inside else end["groupId"]])
            outside += not inside  # NiFi writes From or To then
        bends = [(bend["x"], bend["y"]) for bend in connection["bends"]]
        first, last = ends
        points = (
            first.edge(bends[0] if bends else last.centre),
            *bends,
            last.edge(bends[-1] if bends else first.centre),
        )
        x, y = (
            bends[connection["labelIndex"]]
            if bends
            else ((points[0][0] + points[1][0]) / 2, (points[0][1] + points[1][1]) / 2)
        )
        named = bool(connection["name"] or any(connection["selectedRelationships"]))
        height = _ROWS[outside + named]
        name = connection["name"] or f"{first.name} -> {last.name}"
        written = Box(name, x - _ROW / 2, y - height / 2, x + _ROW / 2, y + height / 2)
        lines.append(Line((first, last), points, written))
    return View((*by_identifier.values(), *labels), tuple(lines))


GROUPS = [
    pytest.param(group, id=f"{group['name']}-{kind}")
    for kind, path in (("http", build.FLOW_FILE), ("https", build.TLS_FLOW_FILE))
    for group, _ in walk_groups(read_json(path)["flowContents"])
]
each_group = pytest.mark.parametrize("group", GROUPS)


@each_group
def test_nothing_lies_over_anything_else(group: Raw) -> None:
    pairs = itertools.combinations(view(group).written, 2)
    assert [(one.name, other.name) for one, other in pairs if one.meets(other, GAP)] == []


@each_group
def test_a_label_has_room_for_its_text(group: Raw) -> None:
    for label in group["labels"]:
        paragraphs = label["label"].split("\n")
        lines = sum(len(textwrap.wrap(text, int(label["width"] / CHARACTER))) for text in paragraphs)
        needed = lines * LINE + (len(paragraphs) - 1) * PARAGRAPH + 2 * PADDING
        assert needed <= label["height"], label["label"]


def _crossings(drawn: View) -> Iterator[tuple[str, str]]:
    for line in drawn.lines:
        for start, end in itertools.pairwise(line.points):
            for box in drawn.written:
                if box not in (*line.ends, line.written) and box.crossed(start, end):
                    yield line.written.name, box.name


@each_group
def test_no_connection_runs_through_anything(group: Raw) -> None:
    assert list(_crossings(view(group))) == []


@each_group
def test_a_group_is_readable_as_nifi_opens_it(group: Raw) -> None:
    scale, _ = view(group).fitted()
    assert scale >= READABLE


@each_group
def test_nothing_lies_under_the_panels(group: Raw) -> None:
    drawn = view(group)
    _, panels = drawn.fitted()
    hidden = [box.name for box in drawn.written if box.meets(panels)]
    hidden += [
        line.written.name
        for line in drawn.lines
        for start, end in itertools.pairwise(line.points)
        if panels.crossed(start, end)
    ]
    assert hidden == []


@each_group
def test_every_connection_says_what_flows(group: Raw) -> None:
    """Between groups NiFi writes the names of the ports, within them that of the relationship: `success` says nothing."""
    names = {box["identifier"] for kind in _SIZES for box in group[kind]}
    for connection in group["connections"]:
        between_groups = not {connection["source"]["id"], connection["destination"]["id"]} <= names
        if between_groups or "success" in connection["selectedRelationships"]:
            assert connection["name"], (connection["source"]["name"], connection["destination"]["name"])
        assert len(connection["name"]) <= NAME, connection["name"]


@each_group
def test_no_two_ports_of_a_group_share_a_name(group: Raw) -> None:
    names = Counter(port["name"] for port in (*group["inputPorts"], *group["outputPorts"]))
    assert [name for name, count in names.items() if count > 1] == []


def test_no_two_groups_let_something_out_under_the_same_name() -> None:
    root = read_json(build.FLOW_FILE)["flowContents"]
    names = Counter(port["name"] for group in root["processGroups"] for port in group["outputPorts"])
    assert [name for name, count in names.items() if count > 1] == []
