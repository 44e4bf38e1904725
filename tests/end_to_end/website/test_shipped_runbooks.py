"""Each technical instruction that is shipped is followed after its real incident, and the site is what it was."""

from __future__ import annotations

from tests.end_to_end.website.desk import Desk, states

NOTHING_LEAKED = {"personal_data": False}


def test_01_services_that_were_killed_are_started_again(desk: Desk) -> None:
    desk.site.nginx.kill()
    desk.site.php.kill()
    assert "nwb-01-service-down" in desk.diagnosed()
    run = desk.follow("nwb-01-service-down", cause="absturz", **NOTHING_LEAKED)
    assert states(run)["start-database"] == "satisfied"
    assert desk.site.check() == {}
