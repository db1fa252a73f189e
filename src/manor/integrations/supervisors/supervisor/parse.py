"""supervisord's answers → values.

Invariant: pure; an answer that is not what its API documents is a ManorError that shows it, never a guess.
Vendor: https://supervisord.org/api.html, states: https://supervisord.org/subprocess.html#process-states
"""

from __future__ import annotations

import xmlrpc.client
from typing import Any
from xml.parsers.expat import ExpatError

from manor.errors import ManorError
from manor.execution.values import Act, Completed, HttpRequest
from manor.integrations.supervisors.base import ProgramStatus, ProgramView

STATES = {
    "STOPPED": ProgramStatus.STOPPED,
    "STARTING": ProgramStatus.STARTING,
    "RUNNING": ProgramStatus.RUNNING,
    "BACKOFF": ProgramStatus.FAILED,
    "STOPPING": ProgramStatus.STOPPING,
    "FATAL": ProgramStatus.FAILED,
    "UNKNOWN": ProgramStatus.FAILED,
}
SHUTTING_DOWN, BAD_NAME, ALREADY_STARTED, NOT_RUNNING, ALREADY_ADDED = 6, 10, 60, 70, 90
DONE_BEFORE = frozenset({ALREADY_STARTED, NOT_RUNNING, ALREADY_ADDED})
LEAVING = frozenset({"supervisor.stopProcessGroup", "supervisor.removeProcessGroup"})
ENDING = frozenset({"supervisor.stopAllProcesses", "supervisor.shutdown"})


def parse_check(completed: Completed) -> tuple[str, ...]:
    """Return its parser's complaints, without the advice about `-h`."""
    if completed.code == 0:
        return ()
    lines = [line.removeprefix("Error: ") for line in completed.err.decode("utf-8", "replace").splitlines()]
    return tuple(line for line in lines if line and not line.startswith("For help")) or (f"refused with code {completed.code}",)


def parse_pid(completed: Completed) -> int:
    """Return the pid. Raises ManorError."""
    value = value_of(completed)
    if not isinstance(value, int):
        raise unexpected(completed)
    return value


def parse_status(completed: Completed) -> tuple[ProgramView, ...]:
    """Return the programs, sorted by name. Raises ManorError."""
    value = value_of(completed)
    if not isinstance(value, list):
        raise unexpected(completed)
    return tuple(sorted((program_view(each) for each in value), key=lambda view: view.name))


def program_view(info: dict[str, Any]) -> ProgramView:
    """Return one program as we say it."""
    status = STATES.get(info["statename"]) or ended_status(info["exitstatus"])
    has_process = status in {ProgramStatus.RUNNING, ProgramStatus.STARTING, ProgramStatus.STOPPING}
    return ProgramView(
        name=info["name"],
        status=status,
        pid=info["pid"] if has_process and info["pid"] else None,
        started_at=float(info["start"]) if has_process else None,
        detail=" ".join(filter(None, (info["statename"], info["description"], info["spawnerr"]))),
    )


def ended_status(code: int) -> ProgramStatus:
    """Return what an end by itself means: 0 is an idle slot, anything else a crash that is about to be restarted."""
    return ProgramStatus.STOPPED if code == 0 else ProgramStatus.FAILED


def parse_done(act: Act, completed: Completed) -> str | None:
    """Return the faults of an act that mean that it is not done; what was done before is none."""
    if not isinstance(act, HttpRequest):
        return None if completed.code == 0 else f"still there after its time: {completed.err.decode('utf-8', 'replace')}".strip()
    parameters, method = xmlrpc.client.loads(act.body or b"")
    if method != "system.multicall":
        return single_fault(str(method), completed)
    asked: Any = parameters[0]
    faults = zip(asked, result(completed), strict=True)
    return "; ".join(filter(None, (fault_text(str(call["methodName"]), answer) for call, answer in faults))) or None


def single_fault(method: str, completed: Completed) -> str | None:
    """Return the fault of one call, if it matters; of `stopAllProcesses` those of its members."""
    try:
        value = result(completed)
    except xmlrpc.client.Fault as fault:
        return fault_text(method, {"faultCode": fault.faultCode, "faultString": fault.faultString})
    return group_faults(method, value)


def fault_text(method: str, answer: object) -> str | None:
    """Return what is wrong with one answer of several."""
    if not isinstance(answer, dict):
        return group_faults(method, answer)
    code = answer["faultCode"]
    was_done = code in DONE_BEFORE or (code == BAD_NAME and method in LEAVING) or (code == SHUTTING_DOWN and method in ENDING)
    if was_done:
        return None
    return f"{method}: {answer['faultString']}"


def group_faults(method: str, answer: object) -> str | None:
    """Return the members that failed, of an answer that lists members with status codes; 80 is success."""
    members = [each for each in answer if isinstance(each, dict) and "status" in each] if isinstance(answer, list) else []
    failed = [each for each in members if each["status"] != 80 and each["status"] not in DONE_BEFORE]
    return "; ".join(f"{method}: {each['name']}: {each['description']}" for each in failed) or None


def value_of(completed: Completed) -> Any:
    """Return the value of a call that is not expected to fail. Raises ManorError for a fault too."""
    try:
        return result(completed)
    except xmlrpc.client.Fault as fault:
        raise ManorError(f"supervisord: {fault.faultString}") from fault


def result(completed: Completed) -> Any:
    """Return the value of a method response. Raises Fault, or ManorError if it is none."""
    try:
        values, _ = xmlrpc.client.loads(completed.out)
    except (ExpatError, xmlrpc.client.ResponseError) as error:
        raise unexpected(completed) from error
    return values[0]


def unexpected(completed: Completed) -> ManorError:
    """Return the error about an answer that nobody documents."""
    return ManorError(f"supervisord answered what its API does not document: {completed.code} {completed.text[:200]!r}")
