"""Two operators and their leases, in every order that hypothesis can think of."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from manor.errors import Busy, FencedOff
from manor.state import leases
from manor.state.holder import Holder, is_gone, process_start, this_process
from manor.state.leases import Lease, exclude
from manor.state.store import Store
from tests.operations.model import FakeClock

NAMES = ["prod", "prod/shop", "prod/crm", "product", "stage", "stage/shop"]
OPERATORS = [Holder("here", "boot-1", "pid:[1]", 10, 1), Holder("here", "boot-1", "pid:[1]", 20, 2), Holder("elsewhere", "boot-9", "pid:[1]", 10, 1)]


class Operators(RuleBasedStateMachine):
    """Operators on two machines take, renew and let go of leases; processes die, machines reboot, time passes."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.store = Store.open(folder, self.clock)
        self.believed: dict[int, Lease] = {}
        """What each token's owner believes to hold."""
        self.dead: set[Holder] = set()
        self.tokens: list[int] = []

    @initialize()
    def begin(self) -> None:
        assert self.store.read_now(leases.standing) == ()

    def is_gone(self, holder: Holder, me: Holder) -> bool:
        return holder.machine == me.machine and holder in self.dead

    @rule(who=st.sampled_from(OPERATORS), name=st.sampled_from(NAMES))
    def take(self, who: Holder, name: str) -> None:
        if who in self.dead:
            return
        now = self.clock.now()
        in_the_way = [lease for lease in self.store.read_now(leases.standing) if exclude(lease.name, name)]
        is_free = all(now >= lease.expires_at or self.is_gone(lease.holder, who) for lease in in_the_way)
        try:
            lease = self.store.write_now(leases.acquire, name, "op", holder=who, now=now, is_gone=self.is_gone)
        except Busy:
            assert not is_free
            return
        assert is_free
        assert all(lease.token > token for token in self.tokens)
        self.tokens.append(lease.token)
        self.believed[lease.token] = lease

    @rule(pick=st.integers(0, 50))
    def renew(self, pick: int) -> None:
        if not self.believed:
            return
        token = sorted(self.believed)[pick % len(self.believed)]
        lease = self.believed[token]
        stands = token in {kept.token for kept in self.store.read_now(leases.standing)}
        try:
            renewed = self.store.write_now(leases.renew, lease.name, token, now=self.clock.now())
        except FencedOff:
            assert not stands
            del self.believed[token]
        else:
            assert stands
            assert renewed.expires_at == self.clock.now() + leases.LIFETIME_SECONDS

    @rule(pick=st.integers(0, 50))
    def let_go(self, pick: int) -> None:
        if self.believed:
            lease = self.believed.pop(sorted(self.believed)[pick % len(self.believed)])
            before = [kept for kept in self.store.read_now(leases.standing) if kept.token != lease.token]
            self.store.write_now(leases.release, lease.name, lease.token)
            assert list(self.store.read_now(leases.standing)) == before, "another's lease was let go"

    @rule(seconds=st.sampled_from([1.0, 15.0, 59.9, 60.0, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(who=st.sampled_from(OPERATORS))
    def dies(self, who: Holder) -> None:
        self.dead.add(who)

    @rule(who=st.sampled_from(OPERATORS))
    def comes_back(self, who: Holder) -> None:
        self.dead.discard(who)

    @invariant()
    def no_two_that_exclude_each_other(self) -> None:
        kept = self.store.read_now(leases.standing)
        assert not [(one.name, other.name) for one in kept for other in kept if one.name < other.name and exclude(one.name, other.name)]

    def teardown(self) -> None:
        self.store.close()


def test_operators(tmp_path: Path, begin_state: Callable[[Path], Path]) -> None:
    numbers = itertools.count(1)

    class Placed(Operators):
        def __init__(self) -> None:
            super().__init__(begin_state(tmp_path / str(next(numbers))))

    run_state_machine_as_test(Placed, settings=settings(max_examples=10, stateful_step_count=25, deadline=None))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("prod", "prod", True),
        ("prod", "prod/shop", True),
        ("prod/shop", "prod", True),
        ("prod/shop", "prod/crm", False),
        ("prod", "product", False),
        ("prod/shop", "prod/shop-db", False),
        ("prod/shop", "stage/shop", False),
    ],
)
def test_which_exclude_each_other(one: str, other: str, expected: bool) -> None:
    assert exclude(one, other) is expected


def test_a_lease_that_ran_out_while_nobody_took_it_is_still_its_holders(store: Store, clock: FakeClock) -> None:
    lease = store.write_now(leases.acquire, "prod", "op", holder=OPERATORS[0], now=clock.now())
    clock.advance(600)
    assert store.write_now(leases.renew, "prod", lease.token, now=clock.now()).expires_at == clock.now() + 60


def test_this_process_is_not_gone() -> None:
    assert not is_gone(this_process(), this_process())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"process_started": 1}, True),
        ({"pid": 2**22 + 1}, True),
        ({"boot": "before"}, True),
        ({"boot": "before", "namespace": "pid:[9]"}, True),
        ({"namespace": "pid:[9]", "process_started": 1}, False),
        ({"machine": "elsewhere", "process_started": 1}, False),
        ({"machine": "elsewhere", "boot": "before"}, False),
    ],
)
def test_gone_is_said_on_proof_only(change: dict[str, object], expected: bool) -> None:
    me = this_process()
    assert is_gone(replace(me, **change), me) is expected  # type: ignore[arg-type]


def test_the_start_of_a_process_is_read_past_its_name() -> None:
    start = process_start(os.getpid())
    assert start is not None
    assert start > 0
    assert process_start(2**22 + 1) is None
