"""Intake limits: each default once, with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass, fields

from imagewarehouse.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Limits:
    """Ceilings tested before the expensive step they protect."""

    max_bytes: int = 20 * 1024 * 1024
    """Bytes of one image. NiFi and Python hold a copy each while it is checked, about five during the transfer."""

    max_pixels: int = 50_000_000
    """Width x height of one frame, of every format."""

    max_memory: int = 512 * 1024 * 1024
    """Bytes that decoding one image may take, for formats whose decoder takes more for a pixel than others
    (`imagewarehouse.images.formats` has what was measured). A picture is refused by what its header announces."""

    max_frames: int = 500
    """Frames or pages; only the first is classified. 1 refuses every animation."""

    allow_trailing_data: bool = False
    """What phones append is understood and needs no permission; this lets pass what is not: polyglots among it."""

    fetch_bytes: int = 256 * 1024 * 1024
    """Bytes of all images that the requests of one FlowFile name by image_uri. They travel on together: NiFi and Python
    hold some copies each."""

    fetch_seconds: int = 20
    """For all of them; a client of /classify is answered before NiFi gives it up after 60 seconds."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, bool) and value < 1:
                raise ConfigurationError(field.name, f"expected 1 or more, received {value}")
