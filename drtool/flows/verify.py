"""Ask a copy for the hashes of many objects, and compare them with the objects' names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from drtool.core.ports import Copy
from drtool.errors import CopyTrouble, DrtoolError, ObjectAltered, ObjectMissing
from drtool.flows.take_stock import expected_digest

BATCH = 64  # objects that are asked for at once: what is recorded after each is not read again after a kill


@dataclass(slots=True)
class Verification:
    """What was found. ``silent`` counts the objects of which there was no hash to compare.

    With ``trouble``, the copy stopped answering, and what came after was not asked for.
    """

    intact: list[str] = field(default_factory=list)
    altered: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    silent: int = 0
    trouble: CopyTrouble | None = None

    def enter(self, key: str, answer: str | DrtoolError | None, expected: str) -> None:
        """One object's answer: its hash, none, or what went wrong."""
        if isinstance(answer, CopyTrouble):
            self.trouble = answer
        elif isinstance(answer, ObjectMissing):
            self.missing.add(key)
        elif answer is None:
            self.silent += 1
        elif isinstance(answer, DrtoolError) or answer != expected:
            self.altered.add(key)
        else:
            self.intact.append(key)


def verify(
    ask: Callable[[str], str | None], keys: Sequence[str], config_sha256: str, *, workers: int
) -> Iterator[tuple[Sequence[str], Verification]]:
    """Ask for the hash of each key, so many at once; after each batch what was found in it.

    Ends early where the copy does not answer any more.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="verify") as pool:
        for begin in range(0, len(keys), BATCH):
            batch, found = keys[begin : begin + BATCH], Verification()
            for key, answer in zip(batch, pool.map(lambda key: _answer(ask, key), batch), strict=True):
                found.enter(key, answer, expected_digest(key, config_sha256))
            yield batch, found
            if found.trouble:
                return


def gather(found: Verification, more: Verification) -> None:
    """Add what was found in one batch to what was found before."""
    found.intact += more.intact
    found.altered |= more.altered
    found.missing |= more.missing
    found.silent += more.silent
    found.trouble = found.trouble or more.trouble


def _answer(ask: Callable[[str], str | None], key: str) -> str | DrtoolError | None:
    try:
        return ask(key)
    except (ObjectMissing, ObjectAltered, CopyTrouble) as error:
        return error


def is_gone(copy: Copy, keys: set[str]) -> set[str]:
    """Those of the keys that the copy really does not hold, looked at anew."""
    return keys - copy.inventory()[0].keys() if keys else set()
