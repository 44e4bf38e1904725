"""Which runbook fits: what every runbook detects is looked at, at once, within ten seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import timedelta

from drtool.core.model import Verdict
from drtool.core.observation import Diagnosis, Observation, Seen
from drtool.documents.probe import Probe
from drtool.documents.runbook import Answer, Runbook
from drtool.errors import UsageError
from drtool.flows.observe import fitting, observe
from drtool.flows.recovery import Recovery

LIMIT = timedelta(seconds=8)  # of the ten; the rest is for drtool's own start
MOST_AT_ONCE = 200


def diagnose(recovery: Recovery) -> Diagnosis:
    """Look, and name the runbooks that fit, with why. What does not answer in time cannot tell."""
    runbooks = [one.document for one in recovery.procedures if isinstance(one.document, Runbook)]
    probes = sum(len(one.detect.probes) for one in runbooks if one.detect)
    pool = ThreadPoolExecutor(min(max(probes, 1), MOST_AT_ONCE), thread_name_prefix="detect")
    asked = {
        (runbook.runbook, number): pool.submit(_look, probe, known_values(runbook, recovery), recovery)
        for runbook in runbooks
        for number, probe in enumerate(runbook.detect.probes if runbook.detect else ())
    }
    wait(asked.values(), timeout=LIMIT.total_seconds())
    pool.shutdown(wait=False, cancel_futures=True)
    seen = {key: _answer(future) for key, future in asked.items()}
    found = tuple(
        Seen(
            runbook=runbook.runbook,
            text=probe.text or "",
            fits=fitting(seen[runbook.runbook, number]),
            observation=seen[runbook.runbook, number],
        )
        for runbook in runbooks
        for number, probe in enumerate(runbook.detect.probes if runbook.detect else ())
    )
    fits = [(runbook.runbook, _why(runbook, found)) for runbook in runbooks]
    broken = tuple(one.id for one in recovery.procedures if one.problems)
    return Diagnosis(fits=tuple((name, why) for name, why in fits if why), seen=found, broken=broken)


def known_values(runbook: Runbook, recovery: Recovery) -> Mapping[str, Answer]:
    """The parameters that are known before anybody starts a run."""
    values = recovery.register.values
    known = {name: values.get(name, param.default) for name, param in runbook.params.items()}
    here: dict[str, Answer] = {"site": recovery.estate.site, "runbook": runbook.runbook}
    return {**{name: value for name, value in known.items() if value is not None}, **here}


def _look(probe: Probe, values: Mapping[str, Answer], recovery: Recovery) -> Observation:
    try:
        return observe(probe, values, recovery, limit=LIMIT)
    except UsageError as error:
        return Observation(probe=probe.probe, verdict=Verdict.UNKNOWN, reason=error.message, seconds=0)


def _answer(future: Future[Observation]) -> Observation:
    if future.done() and not future.cancelled():
        return future.result()
    late = "there was no time to ask" if future.cancelled() else f"no answer within {LIMIT.seconds} s"
    return Observation(probe="", verdict=Verdict.UNKNOWN, reason=late, seconds=LIMIT.total_seconds())


def _why(runbook: Runbook, found: Sequence[Seen]) -> str:
    """What speaks for a runbook; '' where it does not fit."""
    own = [one for one in found if one.runbook == runbook.runbook]
    fitting_ones = [one for one in own if one.fits]
    if not fitting_ones or (runbook.detect and runbook.detect.all and len(fitting_ones) < len(own)):
        return ""
    return "; ".join(f"{one.text or one.observation.probe}: {one.observation.reason}" for one in fitting_ones)
