"""How an apply ended, as the error that its exit code comes from (docs/apply.md, ends).

Invariant: pure; decided by which kinds of step failed, never by what they wrote.
"""

from __future__ import annotations

from manor.errors import ApplyFailed, NotRestored, Refused, Unreachable
from manor.operations.planning import Result
from manor.reconcile.steps import FenceHost, PrepareHost
from manor.reconcile.supervising import CheckSupervisor
from manor.reconcile.tiers import CheckTier
from manor.state.words import OperationState, Outcome

REFUSING = frozenset({FenceHost.kind, CheckTier.kind, CheckSupervisor.kind})
BEFORE_CHANGES = REFUSING | {PrepareHost.kind}


def raise_unless_applied(result: Result) -> None:
    """Raise Refused or Unreachable (what runs goes on as it was), ApplyFailed (what was there works again), NotRestored or Paused, unless all is done."""
    if result.operation.state not in (OperationState.REVERTED, OperationState.FAILED):
        return result.raise_unless_done()
    bad = [step for step in result.failed if step.plan == 0]
    told = "\n".join(dict.fromkeys(step.evidence for step in result.failed))
    kinds = {step.kind for step in bad}
    if kinds <= BEFORE_CHANGES and all(step.outcome is Outcome.UNREACHABLE for step in bad):
        raise Unreachable(told)
    if kinds <= REFUSING:
        raise Refused(told)
    if result.operation.state is OperationState.REVERTED or kinds <= BEFORE_CHANGES:
        raise ApplyFailed(told)
    raise NotRestored(told)
