"""Probes of documents, looked at: repeated as they ask, and turned round where the failing case is looked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from drtool.core.model import Verdict
from drtool.core.observation import Observation
from drtool.core.ports import Probes
from drtool.documents.probe import Probe
from drtool.documents.runbook import Answer
from drtool.flows.parameters import fill
from drtool.flows.recovery import Recovery

_OURS = frozenset({"probe", "text", "expect", "retries", "interval", "consecutive"})
_TURNED = {Verdict.PASS: Verdict.FAIL, Verdict.FAIL: Verdict.PASS}


def fitting(observation: Observation) -> bool:
    return observation.verdict is Verdict.PASS


def observe(
    probe: Probe, values: Mapping[str, Answer], recovery: Recovery, *, limit: timedelta | None = None
) -> Observation:
    """One probe, until it fits as often in a row as it must, or its attempts are over. Raises ``UsageError``.

    ``PASS`` means that it fits, be it that the failing case was looked for. With ``limit``, one look of that length.
    """
    what, pause = _asked(probe, values), probe.interval.total_seconds()
    if limit is not None:
        return _once(probe, {**what, "timeout": min(probe.timeout, limit)}, recovery.probes)

    def in_a_row() -> Observation:
        seen = [_once(probe, what, recovery.probes)]
        while fitting(seen[-1]) and len(seen) < probe.consecutive:
            recovery.outside.clock.sleep(pause)
            seen.append(_once(probe, what, recovery.probes))
        return seen[-1]

    return recovery.again(in_a_row, fitting, more=probe.retries, interval=pause)


def observe_all(probes: Iterable[Probe], values: Mapping[str, Answer], recovery: Recovery) -> tuple[Observation, ...]:
    """One after the other, up to the first that does not fit."""
    seen: list[Observation] = []
    for probe in probes:
        seen.append(observe(probe, values, recovery))
        if not fitting(seen[-1]):
            break
    return tuple(seen)


def _asked(probe: Probe, values: Mapping[str, Answer]) -> Mapping[str, Any]:
    plain = {key: getattr(probe, key) for key in type(probe).model_fields if key not in _OURS}
    filled: Mapping[str, Any] = fill(plain, values)
    return filled


def _once(probe: Probe, what: Mapping[str, Any], probes: Probes) -> Observation:
    seen = probes.observe(probe.probe, what)
    turned = _TURNED.get(seen.verdict, seen.verdict) if probe.expect == "failing" else seen.verdict
    return replace(seen, verdict=turned)
