"""S3 servers that fail in every way they know, before copies that must not suffer."""

from __future__ import annotations

import subprocess
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.end_to_end.shop import Answer, Shop, assert_same_tree, change, flip, wait_until
from tests.end_to_end.slowline import SlowLine
from tests.faultproxy import Fault, FaultProxy, Rule
from tests.servers import Rclone, credentials_file

OURS = 55.0  # seconds that any trouble may cost a run; restic alone takes 15 minutes, the longest patience is 60 s


def _through(shop: Shop, endpoint: str, **more: str) -> None:
    shop.copies["offsite"]["s3"]["endpoint"] = endpoint
    shop.copies["offsite"].update(more)
    shop.write()


def _sending(proxy: FaultProxy) -> bool:
    return any(request.startswith("PUT") and "/data/" in request for request in list(proxy.requests))


def test_a_server_that_goes_in_the_middle_and_comes_back_costs_nothing(grown: Shop, rclone: Rclone) -> None:
    change(grown.source, 7, megabytes=12)
    with SlowLine(rclone.endpoint, rate=6_000_000) as line, FaultProxy(line.endpoint) as proxy:
        _through(grown, proxy.endpoint, patience="15s")
        running = grown.start("backup")
        wait_until("something is sent", lambda: _sending(proxy))
        proxy.down()
        time.sleep(2)
        proxy.up()
        done = running.wait()
    assert done.code == 0, str(done)
    grown.assert_whole()


def test_a_server_that_goes_in_the_middle_for_good_costs_its_patience_and_no_more(grown: Shop, rclone: Rclone) -> None:
    change(grown.source, 7, megabytes=12)
    with SlowLine(rclone.endpoint, rate=6_000_000) as line, FaultProxy(line.endpoint) as proxy:
        _through(grown, proxy.endpoint, patience="2s")
        running = grown.start("backup")
        wait_until("something is sent", lambda: _sending(proxy))
        proxy.down()
        done = running.wait()
        assert done.code == 3, str(done)
        assert done.dataset("files")["outcome"] == "done"
        assert done.copy("offsite")["outcome"] in ("incomplete", "failed")
        grown.assert_sound()
        proxy.up()
        _through(grown, proxy.endpoint, patience="20s")  # an answer waits behind what the slow line still carries
        grown.run("backup", code=0)
        grown.assert_restores("back", "--from", "offsite")
    grown.assert_whole()


@pytest.mark.parametrize("path", ["", "data/"], ids=["at all", "to uploads"])
def test_a_second_copy_that_never_answers_costs_its_patience(grown: Shop, rclone: Rclone, path: str) -> None:
    change(grown.source, 7)
    with FaultProxy(rclone.endpoint) as proxy:
        _through(grown, proxy.endpoint, patience="5s")
        proxy.rules = [Rule(fault=Fault.HANG, method="PUT" if path else ".*", path=path)]
        done = grown.run("backup", code=3)
        assert done.dataset("files")["outcome"] == "done"
        assert done.copy("offsite")["reason"]
        assert done.seconds < OURS, str(done)
        assert _until_restic_began(grown) < 5, "restic waited for a copy that does not answer"
        proxy.rules = []
        grown.run("backup", code=0)
    grown.assert_whole()


def _until_restic_began(shop: Shop) -> float:
    """Seconds from the run's beginning to restic's, for the dataset of the newest run."""
    events = shop.run("evidence", "show", code=0).document["events"]
    run = events[-1]["run"]
    times = {event["kind"]: datetime.fromisoformat(event["at"]) for event in events if event["run"] == run}
    return (times["snapshot.started"] - times["backup.started"]).total_seconds()


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.CUT_UPLOAD, Fault.CORRUPT_UPLOAD])
def test_a_line_that_breaks_or_alters_some_uploads_costs_nothing(grown: Shop, rclone: Rclone, fault: Fault) -> None:
    change(grown.source, 7)
    with FaultProxy(rclone.endpoint) as proxy:
        _through(grown, proxy.endpoint, patience="20s")
        uploads = "(data|index|snapshots)/"
        proxy.rules = [Rule(fault=fault, method="PUT", path=uploads, times=4, at=100)]
        done = grown.run("backup", code=0)
        assert proxy.rules[0].fired >= 2, str(done)
    grown.assert_whole()


def test_a_server_that_is_overloaded_for_a_while_is_waited_for(grown: Shop, rclone: Rclone) -> None:
    change(grown.source, 7)
    with FaultProxy(rclone.endpoint) as proxy:
        _through(grown, proxy.endpoint, patience="20s")
        proxy.rules = [Rule(fault=Fault.STATUS, status=503, times=9)]
        grown.run("backup", code=0)
        assert proxy.rules[0].fired == 9
    grown.assert_whole()


def test_a_server_that_stays_overloaded_ends_the_run_as_incomplete(grown: Shop, rclone: Rclone) -> None:
    with FaultProxy(rclone.endpoint) as proxy:
        _through(grown, proxy.endpoint, patience="2s")
        proxy.rules = [Rule(fault=Fault.STATUS, status=503)]
        done = grown.run("backup", code=3)
        assert done.seconds < OURS
        assert "SlowDown" in done.copy("offsite")["reason"]


@pytest.mark.parametrize("code", ["ExpiredToken", "AccessDenied"])
def test_what_no_retry_can_help_ends_at_once(grown: Shop, rclone: Rclone, code: str) -> None:
    with FaultProxy(rclone.endpoint) as proxy:
        _through(grown, proxy.endpoint, patience="60s")
        proxy.rules = [Rule(fault=Fault.STATUS, status=403, code=code)]
        done = grown.run("backup", code=3)
        assert done.seconds < OURS
        assert code in done.copy("offsite")["reason"]


def test_a_wrong_secret_is_named_at_once(grown: Shop) -> None:
    credentials_file(Path(grown.copies["offsite"]["credentials"]["file"]), secret="not-the-secret-at-all")
    grown.copies["offsite"]["patience"] = "60s"
    done = grown.write().run("backup", code=3)
    assert done.seconds < OURS
    assert done.dataset("files")["outcome"] == "done"
    assert done.copy("offsite")["outcome"] == "failed"
    words = grown.run("backup", as_json=False)
    assert "credentials" in words.out + words.err or "secret key" in words.out + words.err, str(words)


def test_a_bucket_that_does_not_exist_is_named_and_the_other_copy_begins(shop: Shop, rclone: Rclone) -> None:
    shop.add_directory("disk")
    shop.add_bucket("offsite", rclone, rclone.bucket(), patience="60s")
    shop.copies["offsite"]["s3"]["bucket"] = "never-created"
    made = shop.write().run("copies", "init", code=3)
    assert made.seconds < OURS
    assert "never-created" in made.copy("offsite")["reason"]
    done = shop.run("backup", code=3)
    assert done.dataset("files")["outcome"] == "done"
    assert done.copy("disk")["wrote"]
    assert "never-created" in done.copy("offsite")["reason"]
    shop.assert_sound("disk")


def test_a_bucket_that_vanished_is_named(grown: Shop) -> None:
    grown.copies["offsite"]["s3"]["bucket"] = "vanished"
    done = grown.write().run("backup", code=3)
    assert "vanished" in done.copy("offsite")["reason"]
    grown.assert_sound("disk")


def test_a_certificate_that_is_not_trusted_is_refused_and_a_private_ca_is_believed(grown: Shop, rclone: Rclone) -> None:
    certificate = _certificate(grown.folder)
    change(grown.source, 7)
    with FaultProxy(rclone.endpoint, certificate=certificate) as proxy:
        _through(grown, proxy.endpoint, patience="60s")
        done = grown.run("backup", code=3)
        assert done.seconds < OURS
        assert "certificate" in done.copy("offsite")["reason"]
        grown.copies["offsite"]["s3"]["ca"] = str(certificate)
        grown.write().run("backup", code=0)
        assert_same_tree(grown.source, grown.restore("files", "back", "--from", "offsite"))  # restic trusts it too
    grown.assert_whole()


# S3 in other places than second of two


def test_a_bucket_as_the_first_and_only_copy_works(shop: Shop, rclone: Rclone) -> None:
    shop.add_bucket("offsite", rclone, rclone.bucket())
    shop.write().init()
    for seed in (1, 2):
        done = shop.run("backup", code=0)
        assert done.copy("offsite")["wrote"]
        shop.assert_sound()
        shop.assert_restores(f"back-{seed}")
        change(shop.source, seed)


def test_two_buckets_are_equal(shop: Shop, rclone: Rclone) -> None:
    shop.add_bucket("near", rclone, rclone.bucket())
    shop.add_bucket("far", rclone, rclone.bucket())
    shop.write().init().run("backup", code=0)
    change(shop.source, 1)
    shop.run("backup", code=0)
    shop.assert_whole()
    assert_same_tree(shop.source, shop.restore("files", "back", "--from", "far"))


def test_three_copies_are_equal_also_when_one_was_away(shop: Shop, rclone: Rclone) -> None:
    shop.add_directory("disk")
    shop.add_directory("second-disk")
    shop.add_bucket("offsite", rclone, rclone.bucket())
    shop.write().init().run("backup", code=0)
    shop.assert_whole()
    away = shop.folders["second-disk"].rename(shop.folder / "away")
    change(shop.source, 1)
    shop.run("backup", code=3)
    away.rename(shop.folders["second-disk"])
    shop.packs("disk")[0].unlink()
    shop.run("backup", code=0)
    shop.assert_whole()
    for name in shop.copies:
        assert_same_tree(shop.source, shop.restore("files", f"back-{name}", "--from", name))


@pytest.fixture
def bucket_first(grown: Shop) -> Shop:
    """The estate of ``grown`` with the bucket before the disk."""
    grown.copies = dict(reversed(grown.copies.items()))
    return grown.write()


def _gone_on_with_the_disk(shop: Shop, done: Answer) -> None:
    assert done.code == 3, str(done)
    assert done.dataset("files")["outcome"] == "done"
    assert done.copy("disk")["wrote"]
    shop.assert_sound("disk")


def test_a_first_copy_that_never_answers_is_left_for_the_next(bucket_first: Shop, rclone: Rclone) -> None:
    with FaultProxy(rclone.endpoint) as proxy:
        _through(bucket_first, proxy.endpoint, patience="3s")
        proxy.rules = [Rule(fault=Fault.HANG)]
        done = bucket_first.run("backup")
        _gone_on_with_the_disk(bucket_first, done)
        assert done.seconds < OURS


def test_a_first_copy_that_stops_answering_while_restic_writes_is_left_for_the_next(
    bucket_first: Shop, rclone: Rclone
) -> None:
    change(bucket_first.source, 7)
    with FaultProxy(rclone.endpoint) as proxy:
        _through(bucket_first, proxy.endpoint, patience="3s")
        running = bucket_first.start("backup")
        wait_until("restic sends", lambda: _sending(proxy))
        proxy.rules = [Rule(fault=Fault.HANG)]
        done = running.wait()
        _gone_on_with_the_disk(bucket_first, done)
        assert done.seconds < OURS, f"took {done.seconds:.0f} s"
        proxy.rules = []
        bucket_first.run("backup", code=0)
    bucket_first.assert_whole()


def test_a_first_copy_that_takes_no_uploads_though_it_can_be_read_is_left_for_the_next(
    bucket_first: Shop, rclone: Rclone
) -> None:
    """A server whose disks are stuck still answers for what lies in its memory."""
    change(bucket_first.source, 7)
    with FaultProxy(rclone.endpoint) as proxy:
        _through(bucket_first, proxy.endpoint, patience="3s")
        proxy.rules = [Rule(fault=Fault.HANG, method="PUT")]
        done = bucket_first.run("backup")
        _gone_on_with_the_disk(bucket_first, done)
        assert done.seconds < OURS, f"took {done.seconds:.0f} s"


def test_a_first_copy_that_goes_in_the_middle_and_comes_back_costs_nothing(bucket_first: Shop, rclone: Rclone) -> None:
    change(bucket_first.source, 7, megabytes=12)
    with SlowLine(rclone.endpoint, rate=8_000_000) as line, FaultProxy(line.endpoint) as proxy:
        _through(bucket_first, proxy.endpoint, patience="15s")
        running = bucket_first.start("backup")
        wait_until("restic sends", lambda: _sending(proxy))
        proxy.down()
        time.sleep(2)
        proxy.up()
        done = running.wait()
    assert done.code == 0, str(done)
    bucket_first.assert_whole()


def test_a_first_copy_with_a_wrong_secret_is_left_for_the_next_at_once(bucket_first: Shop) -> None:
    credentials_file(Path(bucket_first.copies["offsite"]["credentials"]["file"]), secret="not-the-secret-at-all")
    done = bucket_first.run("backup")
    _gone_on_with_the_disk(bucket_first, done)
    assert done.seconds < OURS


# An altered object


def test_an_altered_pack_never_reaches_the_other_copy(grown: Shop, rclone: Rclone) -> None:
    """It is found when it is sent; nothing that needs it is sent, and later runs protect new data elsewhere."""
    with FaultProxy(rclone.endpoint) as proxy:
        _through(grown, proxy.endpoint, patience="1s")
        proxy.down()
        change(grown.source, 7)
        before = set(grown.packs("disk"))
        grown.run("backup", code=3)
        new = next(pack for pack in grown.packs("disk") if pack not in before)
        flip(new)
        proxy.up()
        done = grown.run("backup", code=3)
        assert not (grown.folders["offsite"] / new.relative_to(grown.folders["disk"])).exists()
        assert done.copy("disk")["reason"], str(done)
        assert not done.copy("disk")["agrees"]
        grown.assert_sound("offsite")
        for seed in (8, 9):
            change(grown.source, seed)
            later = grown.run("backup", code=3)
            assert later.dataset("files")["outcome"] == "done", str(later)
            grown.assert_sound("offsite")
            assert_same_tree(grown.source, grown.restore("files", f"back-{seed}", "--from", "offsite"))
        assert not (grown.folders["offsite"] / new.relative_to(grown.folders["disk"])).exists()


def test_an_altered_pack_that_the_other_copy_holds_is_not_sent_over_it(grown: Shop) -> None:
    pack = grown.packs("disk")[0]
    key = pack.relative_to(grown.folders["disk"])
    sound = (grown.folders["offsite"] / key).read_bytes()
    flip(pack)
    change(grown.source, 7)
    assert grown.run("backup").code in (0, 3)
    assert (grown.folders["offsite"] / key).read_bytes() == sound
    grown.assert_sound("offsite")
    assert_same_tree(grown.source, grown.restore("files", "back"))


def _certificate(folder: Path) -> Path:
    pem, key = folder / "server.pem", folder / "server.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "30", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(key), "-out", str(pem)],
        check=True, capture_output=True,
    )  # fmt: skip
    pem.write_text(pem.read_text() + key.read_text())
    return pem
