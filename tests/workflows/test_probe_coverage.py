"""What a rollout's probe asks, and when what it wrote down is enough: the journal says from when to when it had to."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from manor.estate.model import Health, Probe, RolloutRules
from manor.estate.topology import RouteMatch
from manor.observe.edge import EdgeCounts
from manor.observe.probe.model import Lane, LossKind, Outcome
from manor.observe.probe.results import ResultsFile, header_line, outcome_line
from manor.operations.planning import create
from manor.rollout.framing import StartProbe, StopProbe
from manor.rollout.losses import Count, SoFar
from manor.rollout.plan import InstanceNow, RolloutOrder, plan_rollout
from manor.state import journal, tables
from manor.state.operations import NewOperation
from manor.state.words import JournalEvent
from manor.workflows.context import Context
from manor.workflows.probing import LocalProber, default_probe, host_for
from manor.workflows.receipts import with_inner
from manor.workflows.rolling import ORDER, ROLLOUT_KINDS

BEGAN, TOLD_TO_END = 1000.0, 1020.0


@pytest.fixture
def prober(opened: Context, monkeypatch: pytest.MonkeyPatch) -> LocalProber:
    async def ended(_prober: LocalProber, _operation: str) -> None:
        """There is no process to wait for."""

    monkeypatch.setattr(LocalProber, "_wait", ended)
    return LocalProber(opened, "prod", "shop")


async def probed(prober: LocalProber) -> str:
    """Return an operation whose probe was begun and told to end."""
    store = prober.context.store
    order = RolloutOrder("shop", "0123456789ab", (InstanceNow("web-1", "a", "ba9876543210"),), RolloutRules(), Health(http="/healthz"), 1.0, 0.0)
    new = NewOperation("ship", "prod", "shop", "ada", ORDER.dump_json(order).decode())
    operation = (await create(store, new, plan_rollout(order), ROLLOUT_KINDS)).id

    def mark(connection: sa.Connection) -> None:
        for row in journal.steps(connection, operation):
            at = {StartProbe.kind: BEGAN, StopProbe.kind: TOLD_TO_END}.get(row.kind)
            if at is not None:
                connection.execute(tables.steps.update().where(tables.steps.c.seq == row.seq).values(intent_at=at, done_at=at))
                journal.write(connection, operation, row.seq, 1, JournalEvent.INTENT, 1, at, deadline=None)

    await store.write(mark)
    return operation


def record(prober: LocalProber, operation: str, seconds: float, *, ended: bool = True, unsent: int = 0, lost: range = range(0)) -> None:
    """Write down what a probe does that asks so long."""
    folder = prober.folder(operation)
    folder.mkdir(parents=True)
    config = prober.config(operation)
    assert config is not None
    (folder / "config.json").write_text(config.model_dump_json())
    rate = config.targets[0].rate
    moments = [BEGAN + number / rate for number in range(round(seconds * rate))]
    made = [Outcome(0, Lane.NEW, at, at, at + 0.01, 200, LossKind.RESET if n in lost else None) for n, at in enumerate(moments)]
    file = ResultsFile(folder / "results.jsonl")
    file.append(header_line(config, BEGAN))
    file.append(outcome_line(BEGAN + seconds, made, 0, unsent, ended=ended))
    file.close()


@pytest.mark.parametrize(
    ("seconds", "ended", "unsent", "gap"),
    [
        (20.1, True, 0, ""),
        (20.1, True, 4, ""),
        (12.0, False, 0, "it ended 8 s before the rollout, with 0 requests on their way"),
        (12.0, True, 0, "it ended 8 s before the rollout, with 0 requests on their way"),
        (20.1, False, 0, "it was not stopped in order; what became of 0 requests is not known"),
        (20.1, True, 40, "40 requests could not be sent: this machine was out of files, ports or memory"),
    ],
    ids=["whole", "hardly anything unsent", "killed", "at its deadline", "killed at its end", "unsent"],
)
async def test_a_recording_must_cover_what_the_journal_says(seconds: float, ended: bool, unsent: int, gap: str, prober: LocalProber) -> None:
    operation = await probed(prober)
    record(prober, operation, seconds, ended=ended, unsent=unsent)
    seen = await prober.stop(operation)
    assert (seen.lost, seen.gap, seen.is_whole) == (0, gap, not gap)
    column = await prober.column(operation, TOLD_TO_END + 9)
    assert (column.sent, column.is_whole) == (seen.sent, not gap)


async def test_what_was_seen_so_far_is_read_from_what_was_written_down(prober: LocalProber) -> None:
    operation = await probed(prober)
    assert await prober.so_far(operation) == SoFar()
    record(prober, operation, 2.0, lost=range(15, 20))
    assert await prober.so_far(operation) == SoFar(Count(40, 5), Count(20, 0))
    assert prober.period_seconds() == pytest.approx(0.05)


async def test_a_probe_that_wrote_nothing_down_covers_nothing(prober: LocalProber) -> None:
    operation = await probed(prober)
    prober.folder(operation).mkdir(parents=True)
    (prober.folder(operation) / "config.json").write_text("{}")
    assert not (await prober.stop(operation)).is_whole


async def test_an_operation_without_a_probe_claims_nothing(prober: LocalProber) -> None:
    operation = await probed(prober)
    assert (await prober.stop(operation)).sent == 0
    assert not (await prober.column(operation, 9999.0)).has_evidence


def expected(prober: LocalProber, probes: tuple[Probe, ...] | None) -> list[tuple[str, tuple[int, ...] | None, bool]]:
    environment = prober.context.estate.environments["prod"]
    changed = environment.services["shop"].model_copy(update={"probe": probes, "health": Health(http="/healthz", status=204)})
    services = {**environment.services, "shop": changed}
    prober.context.estate.environments["prod"] = environment.model_copy(update={"services": services})
    config = prober.config("any")
    assert config is not None
    return [(target.paths[0], target.expected, target.follows_baseline) for target in config.targets]


def test_the_default_probe_expects_what_the_health_check_does(prober: LocalProber) -> None:
    assert expected(prober, ()) == [("/healthz", (204,), False)]


def test_a_declared_probe_expects_its_status_or_what_was_answered_before(prober: LocalProber) -> None:
    asked = expected(prober, (Probe(path="/one", status=401), Probe(path="/two")))
    assert asked == [("/one", (401,), False), ("/two", tuple(range(200, 500)), True)]


@pytest.mark.parametrize(
    ("path", "host"),
    [("/healthz", "shop.example"), ("/", "shop.example"), ("/media/a?b=/c", "media.example"), ("/media", "media.example"), ("/mediator", "shop.example")],
)
def test_it_asks_where_the_route_is(path: str, host: str, prober: LocalProber) -> None:
    view = prober.context.wiring("prod").service("shop")
    assert host_for(replace(view, routes=(RouteMatch(("media.example",), "/media"), RouteMatch(("shop.example",), "/"))), path) == host


def test_a_health_path_that_no_route_leads_to_is_not_asked(prober: LocalProber) -> None:
    wiring = prober.context.wiring("prod")
    service, view = wiring.environment.services["shop"], wiring.service("shop")
    assert default_probe(service, replace(view, routes=(RouteMatch(("shop.example",), "/shop"),))) == ()
    assert default_probe(service, view) == (Probe(path="/healthz", status=200),)


def test_what_the_next_tier_lacks_is_lacking_here() -> None:
    outer, below = EdgeCounts(total=9, incomplete=("outer: cut off",)), EdgeCounts(total=7, cached=2, reached_slot=5, incomplete=("inner: restarted",))
    assert with_inner(outer, below) == EdgeCounts(total=9, cached=2, reached_slot=5, incomplete=("outer: cut off", "next tier: inner: restarted"))
