"""What the C library keeps of the memory that drtool gave back."""

from __future__ import annotations

import ctypes
from contextlib import suppress

M_ARENA_MAX = -8  # malloc.h of glibc, see mallopt(3)


def keep_little() -> None:
    """Let all threads share two arenas. Else each has its own, and what it freed is of use to no other.

    Another C library than glibc has no ``mallopt``, and needs none.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)
