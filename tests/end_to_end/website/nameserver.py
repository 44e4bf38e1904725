"""A name server of one zone file, which it reads again on HUP: ``nameserver.py ZONEFILE ORIGIN PORT PIDFILE``."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.zone


def main(file: str, origin: str, port: str, pid_file: str) -> None:
    zone = _read(file, origin)

    def read_again(*_: object) -> None:
        nonlocal zone
        zone = _read(file, origin)

    signal.signal(signal.SIGHUP, read_again)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.bind(("127.0.0.1", int(port)))
        Path(pid_file).write_text(str(os.getpid()))
        while True:
            asked, place = line.recvfrom(4096)
            line.sendto(_answer(asked, zone), place)


def _read(file: str, origin: str) -> dns.zone.Zone:
    return dns.zone.from_file(file, origin, relativize=False)


def _answer(asked: bytes, zone: dns.zone.Zone) -> bytes:
    query = dns.message.from_wire(asked)
    question, answer = query.question[0], dns.message.make_response(query)
    answer.flags |= dns.flags.AA
    found = zone.get_rrset(question.name, question.rdtype)
    if found:
        answer.answer.append(found)
    else:
        answer.set_rcode(dns.rcode.NXDOMAIN)
    return answer.to_wire()


if __name__ == "__main__":
    main(*sys.argv[1:])
