"""Kinds of step: what can be done, looked at and taken back, as values that a journal can keep.

Invariant: a step carries no secret and nothing of this process's memory; its payload alone brings it back.
How to add one: docs/operations.md.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, TypeVar

from pydantic import TypeAdapter, ValidationError

from manor.errors import Paused, UsageError
from manor.execution.values import Secret
from manor.state.journal import NewStep, StepRow

PortsT = TypeVar("PortsT")
Takes = TypeVar("Takes", contravariant=True)
"""What a step acts with: one that is content with less fits where more is handed over."""
Shape = TypeVar("Shape")

Evidence: TypeAlias = object
"""What an act has to show: a text, or a frozen dataclass, kept as JSON."""


class Condition(Enum):
    """Which of a step's conditions holds."""

    POST = "done"
    PRE = "not begun"
    NEITHER = "neither done nor as before"


@dataclass(frozen=True)
class Holds:
    """What a look at the real thing showed."""

    condition: Condition
    detail: str = ""

    @classmethod
    def post(cls, detail: str = "") -> Holds:
        """Say that the postcondition holds: nothing is left to do."""
        return cls(Condition.POST, detail)

    @classmethod
    def pre(cls, detail: str = "") -> Holds:
        """Say that the precondition holds: it can be done (again)."""
        return cls(Condition.PRE, detail)

    @classmethod
    def neither(cls, detail: str) -> Holds:
        """Say that neither holds, and what was found instead."""
        return cls(Condition.NEITHER, detail)


@dataclass(frozen=True)
class Here:
    """Where a step is being carried out."""

    operation: str
    seq: int
    key: str
    """Idempotency key, the same for each attempt at this step and for no other step."""
    token: int
    """Fencing token of the lease; hosts refuse an older one."""
    attempt: int
    deadline: float
    """UTC seconds since 1970; the engine ends the act there."""
    say: Callable[[str], None]
    """Tell the operator how it goes, e.g. `12 requests in flight`."""


if TYPE_CHECKING:
    replaceable = property
else:

    class replaceable:  # noqa: N801 -- used as `property` is
        """A property that a subclass may replace by a dataclass field; a plain one would become that field's default."""

        def __init__(self, compute: Callable[[Any], Any]) -> None:
            """Compute the value where no subclass replaces it."""
            self.compute = compute
            self.__doc__ = compute.__doc__

        def __get__(self, instance: object, owner: type) -> Any:
            """Return the value of an instance; the class has none."""
            if instance is None:
                raise AttributeError(self.compute.__name__)
            return self.compute(instance)


class Step(ABC, Generic[Takes]):
    """One act of an operation.

    Subclasses are frozen dataclasses; `host`, `timeout_seconds` and the texts may be fields or properties of theirs.
    `Takes` is whatever their caller hands them to act with.
    """

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    begins_anew: ClassVar[bool] = False
    """Interrupted, it counts from its beginning again, with its full time; the operation's deadline is put off by what was in vain."""

    @replaceable
    def host(self) -> str:
        """Return which host it acts on; empty for the controller."""
        return ""

    @replaceable
    def timeout_seconds(self) -> float:
        """Return how long it may take; its deadline is fixed when it is first begun."""
        return 300.0

    @replaceable
    def text(self) -> str:
        """Return one line for the operator."""
        return self.kind

    @replaceable
    def precondition(self) -> str:
        """Say what must hold before; for the journal's reader."""
        return ""

    @replaceable
    def postcondition(self) -> str:
        """Say what holds after; for the journal's reader."""
        return ""

    @replaceable
    def compensation(self) -> str:
        """Say what takes it back; for the journal's reader."""
        return ""

    @abstractmethod
    async def observe(self, ports: Takes, here: Here) -> Holds:
        """Look at the real thing, change nothing, and tell which condition holds."""

    @abstractmethod
    async def act(self, ports: Takes, here: Here) -> Evidence:
        """Do it, and return what shows that it is done. Raises ManorError; Paused to stop the operation for a person's decision."""

    async def compensate(self, ports: Takes, here: Here) -> str | None:
        """Bring the precondition back when neither condition holds, and say how; None where this kind can't."""
        return None


@dataclass(frozen=True)
class Planned(Generic[Takes]):
    """A step with its place: steps of one stage run together, stages one after the other."""

    stage: int
    step: Step[Takes]
    key: str = ""
    """Unique in its operation; must be given where the same decision may be taken twice."""


class StepKinds(Generic[PortsT]):
    """The kinds of step that an executor knows."""

    def __init__(self, kinds: Iterable[type[Step[PortsT]]]) -> None:
        """Know these kinds. Raises UsageError if two have one name and version."""
        self._kinds: dict[tuple[str, int], type[Step[PortsT]]] = {}
        for kind in kinds:
            if self._kinds.setdefault((kind.kind, kind.version), kind) is not kind:
                raise UsageError(f"two kinds of step are called {kind.kind!r} version {kind.version}")

    def decode(self, row: StepRow) -> Step[PortsT]:
        """Return the step that a row holds. Raises Paused with a diagnosis if its kind, version or payload is not known here."""
        kind = self._kinds.get((row.kind, row.version))
        if kind is None:
            raise Paused(f"step {row.seq} is a {row.kind!r} version {row.version}, which this Manor does not know ({self._known(row.kind)}); {WHAT_NOW}")
        try:
            return adapter(kind).validate_json(row.payload)
        except ValidationError as error:
            raise Paused(f"step {row.seq}, {row.kind!r} version {row.version}, can't be read: {error}; {WHAT_NOW}") from error

    def encode(self, planned: Planned[PortsT], *, first_stage: int = 0) -> NewStep:
        """Return a planned step as a row to be. Raises UsageError if its kind is not known here or it holds a secret."""
        step = planned.step
        if self._kinds.get((step.kind, step.version)) is not type(step):
            raise UsageError(f"{type(step).__name__} is not among the kinds of step of this operation")
        refuse_secrets(step, step.kind)
        return NewStep(
            stage=first_stage + planned.stage,
            kind=step.kind,
            version=step.version,
            payload=adapter(type(step)).dump_json(step).decode(),
            timeout_seconds=step.timeout_seconds,
            key=planned.key,
            host=step.host,
            text=step.text,
            precondition=step.precondition,
            postcondition=step.postcondition,
            compensation=step.compensation,
        )

    def _known(self, name: str) -> str:
        versions = sorted(version for kind, version in self._kinds if kind == name)
        return f"it knows version {', '.join(map(str, versions))}" if versions else f"it knows {', '.join(sorted({kind for kind, _ in self._kinds}))}"


WHAT_NOW = "resume it with the Manor that began it, or abandon it"


ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}
"""Made once each: making one takes 100 times as long as using it."""


def adapter(shape: type[Shape]) -> TypeAdapter[Shape]:
    """Return what reads and writes a dataclass as JSON."""
    if shape not in ADAPTERS:
        ADAPTERS[shape] = TypeAdapter(shape)
    return ADAPTERS[shape]


def encode_evidence(evidence: Evidence) -> str:
    """Return a text as it is, a frozen dataclass as JSON. Raises UsageError if it holds a secret."""
    if evidence is None or isinstance(evidence, str):
        return evidence or ""
    refuse_secrets(evidence, "evidence")
    return adapter(type(evidence)).dump_json(evidence).decode()


def decode_evidence(row: StepRow, shape: type[Shape]) -> Shape:
    """Return the evidence of a done step as the dataclass that its act returned. Raises pydantic.ValidationError."""
    return adapter(shape).validate_json(row.evidence)


def refuse_secrets(value: Any, where: str) -> None:
    """Raise UsageError if there is a Secret anywhere in a value: the journal is read by people."""
    if isinstance(value, Secret):
        raise UsageError(f"{where}: a secret can't be journalled; journal its name and look it up when acting")
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            refuse_secrets(getattr(value, field.name), f"{where}.{field.name}")
    elif isinstance(value, Mapping):
        for name, item in value.items():
            refuse_secrets(item, f"{where}.{name}")
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            refuse_secrets(item, where)
