"""What the kernel tells of a master that somebody else runs."""

from __future__ import annotations

import pytest

from manor.errors import ManorError
from manor.execution.values import HostPath
from manor.integrations.proxies.parts import is_caught, parse_argv, parse_pid

STATUS = "Name:\thaproxy\nSigBlk:\t{blocked}\nSigIgn:\t0000000000000800\nSigCgt:\t{caught}\n"


@pytest.mark.parametrize(
    ("blocked", "caught", "is_master"),
    [
        ("0000000000000000", "0000000000000800", True),
        ("0000000000000800", "0000000000000000", True),
        ("0000000000000000", "0000000180304203", False),
        ("0000000000000000", "", False),
    ],
)
def test_a_signal_that_is_not_caught_would_end_the_process(blocked: str, caught: str, is_master: bool) -> None:
    assert is_caught(STATUS.format(blocked=blocked, caught=caught).encode(), "USR2") == is_master


def test_a_process_that_is_gone_catches_nothing() -> None:
    assert not is_caught(b"", "HUP")


@pytest.mark.parametrize("content", [None, b"", b"0", b"1", b"-7", b"7 8", b"seven", "\u0667".encode()])
def test_what_is_no_pid_is_refused(content: bytes | None) -> None:
    with pytest.raises(ManorError, match=r"/run/x\.pid holds no pid"):
        parse_pid(content, HostPath("/run/x.pid"))


def test_a_pid_and_a_command_line() -> None:
    assert parse_pid(b"4711\n", HostPath("/run/x.pid")) == 4711
    assert parse_argv(b"haproxy\0-W\0-f\0/etc/haproxy.cfg\0") == ("haproxy", "-W", "-f", "/etc/haproxy.cfg")
