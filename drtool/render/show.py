"""Whom flows tell what they are at: nobody, a log, or a person before a terminal."""

from __future__ import annotations

import sys

from drtool.core.ports import Progress, Show


class Silence:
    """For cron with ``--quiet`` and for ``--json``: only what went wrong is said, at the end."""

    watched = False

    def phase(self, text: str) -> None: ...

    def progress(self, progress: Progress) -> None: ...

    def note(self, text: str) -> None: ...

    def close(self) -> None: ...


class Lines:
    """For a log: one line for each note."""

    watched = False

    def phase(self, text: str) -> None: ...

    def progress(self, progress: Progress) -> None: ...

    def note(self, text: str) -> None:
        sys.stderr.write(f"note: {printable(text)}\n")

    def close(self) -> None: ...


def printable(text: str) -> str:
    """Without what a terminal would obey: file names come from web roots."""
    return "".join(sign if sign.isprintable() or sign == "\n" else "\ufffd" for sign in text)


def show_for(*, quiet: bool) -> Show:
    """What fits where stderr goes. The terminal's library loads only for a terminal."""
    if quiet:
        return Silence()
    if not sys.stderr.isatty():
        return Lines()
    from drtool.render.terminal import LiveShow

    return LiveShow()
