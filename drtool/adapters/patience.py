"""Trying again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_attempt, wait_fixed

_T = TypeVar("_T")


def again(attempt: Callable[[], _T], good: Callable[[_T], bool], *, more: int, interval: float) -> _T:
    """See ``core.ports.Patience``."""

    def last(state: RetryCallState) -> _T:
        assert state.outcome is not None  # it is asked after an attempt
        result: _T = state.outcome.result()
        return result

    trying = Retrying(
        stop=stop_after_attempt(more + 1),
        wait=wait_fixed(interval),
        retry=retry_if_result(lambda result: not good(result)),
        retry_error_callback=last,
    )
    return trying(attempt)
