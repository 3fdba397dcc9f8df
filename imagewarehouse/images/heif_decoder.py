"""HEIC's decoder, which may be missing: libheif and libde265 (both LGPL), by way of pi-heif-decoder.

It is a plugin of Pillow. `imagewarehouse.images.walkers.heif` stands in front of it: libheif's own limits (4 GB, a gigapixel)
cannot be set from Python, so that walker keeps the tighter ones.
"""

from __future__ import annotations

from functools import cache

from PIL import Image

from imagewarehouse.errors import Corrupt

PACKAGE = "pi-heif-decoder"
HOW_TO_GET_IT = f"install {PACKAGE}; a NAR has it unless it was packed with HEIC=no"

# One thread a picture: pictures are decoded side by side already, and each thread holds a tile more.
_THREADS = 1


@cache
def heif_available() -> bool:
    """Whether HEIC can be decoded here; at the first call the decoder is registered with Pillow."""
    try:
        import pi_heif

        if "libde265" not in pi_heif.libheif_info()["decoders"]:
            return False
    except ImportError:  # also where a library that it is linked against is missing
        return False
    pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=_THREADS)
    return True


def check_primary(image: Image.Image) -> None:
    """Raises Corrupt where the plugin, for want of the file's primary picture, has opened another one."""
    if not image.info.get("primary"):
        raise Corrupt("HEIF: its primary item is no picture that stands by itself")
