"""Folders and files that systems put between people's images: no class is one of them, and no image."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# In small letters. Hidden ones, with a dot in front, are left out besides: .git, .thumbnails, .DS_Store, ._photo.jpg.
_NAMES = frozenset((
    "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information",  # Windows
    "__macosx", "icon\r", "network trash folder", "temporary items",  # macOS
    "@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot",  # network storage: Synology, QNAP
    "lost+found", "__pycache__",
))  # fmt: skip
_OF_AN_EXPORT = ".export"  # what `imagewarehouse export` keeps for itself in a folder of images: not worth a line
_ENDS = (":zone.identifier",)  # where a file came from, as Windows notes it, after a copy to Linux


def is_system_file(name: str) -> bool:
    """Whether a file or folder of that name is left out."""
    lower = name.lower()
    return name.startswith(".") or lower in _NAMES or lower.endswith(_ENDS)


class ImageTree:
    """A folder whose system folders and files are passed over; `left_out` has those met so far, relative, with slashes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.left_out: set[str] = set()

    def folders(self, folder: Path) -> list[Path]:
        return sorted(path for path in self._entries(folder) if path.is_dir())

    def loose_files(self, folder: Path) -> list[str]:
        return sorted(path.name for path in self._entries(folder) if not path.is_dir())

    def files_below(self, folder: Path) -> Iterator[str]:
        """Paths relative to the root, with slashes. Links to folders are not followed: they may lead back up for ever."""
        for path, folders, files in os.walk(folder):
            folders[:] = [name for name in folders if self._is_wanted(Path(path) / name)]
            for name in files:
                if self._is_wanted(Path(path) / name):
                    yield (Path(path) / name).relative_to(self.root).as_posix()

    def note(self) -> list[str]:
        """One line on what was left out, or none."""
        if not self.left_out:
            return []
        first, count = min(self.left_out), len(self.left_out)
        if count == 1:
            return [f"1 system folder or file is left out: {first}"]
        return [f"{count} system folders and files are left out, such as {first}"]

    def _entries(self, folder: Path) -> Iterator[Path]:
        return (path for path in folder.iterdir() if self._is_wanted(path))

    def _is_wanted(self, path: Path) -> bool:
        if not is_system_file(path.name):
            return True
        if path.name != _OF_AN_EXPORT:
            self.left_out.add(path.relative_to(self.root).as_posix())
        return False
