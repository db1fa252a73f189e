"""A repository's pipeline as a person writes it, `.manor/pipeline.yaml`: frozen, typed, in base units (docs/pipeline.md).

Every field's description is its documentation.

Invariant: pure but for `load_pipeline`; all problems of a file are said at once, each `file:line: path: what is wrong; what to do`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from manor.errors import InvalidEstate
from manor.estate.model import Part
from manor.estate.not_yet import ALWAYS, Refuses
from manor.estate.overlays import Path as KeyPath
from manor.estate.problems import Finding, Problem, dotted, suggestion
from manor.estate.source import Mark, Node, SourceError, parse_yaml, read_text
from manor.estate.translate import validate
from manor.estate.units import NAME, Duration, Line, Name, Variable, WholePath, show
from manor.pipeline.globs import Glob

FILE = ".manor/pipeline.yaml"
LONGEST_SCRIPT = 100_000
RESERVED = "deliver"
KINDS = ("run", "test", "artifact")


def parse_commands(value: object) -> tuple[str, ...]:
    """Return the command lines of a step from one text or a list of texts. Raises ValueError."""
    lines = [value] if isinstance(value, str) else value
    if not isinstance(lines, list | tuple) or not lines or not all(isinstance(line, str) and line.strip() for line in lines):
        raise ValueError(f"{show(value)} is neither a command line nor a list of such, none empty; write e.g. python3 build.py")
    if any("\0" in line for line in lines) or sum(len(line.encode()) for line in lines) > LONGEST_SCRIPT:
        raise ValueError(f"holds a NUL character or more than {LONGEST_SCRIPT} bytes; put long scripts into a file of the repository")
    return tuple(lines)


def parse_globs(value: object) -> object:
    """Return a list also where one pattern alone is written."""
    return [value] if isinstance(value, str) else value


Commands = Annotated[
    tuple[str, ...],
    BeforeValidator(parse_commands),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}], "examples": ["python3 build.py"]}),
]
Globs = Annotated[tuple[Glob, ...], BeforeValidator(parse_globs)]


class ArtifactPart(Part):
    """What is packed, and for which machines."""

    include: Globs = Field(("**",), description="what to pack; a folder means all below it")
    exclude: Globs = Field((), description="what to leave out of it")
    folder: WholePath | None = Field(None, alias="from", description="pack what is in this folder of the workspace, without its name")
    platform: Line | None = Field(None, description="where it runs, e.g. any or linux-x86_64; by default told from the compiled files in it")


class Step(Part):
    """One unit of a pipeline: exactly one of `run`, `test` and `artifact`."""

    run: Commands | None = Field(None, description="command lines for `sh -e`, one or a list")
    test: Commands | None = Field(None, description="the same, for tests; needs `junit`")
    junit: Globs = Field((), description="where the tests leave their JUnit XML reports; a failure in one, or none at all, fails the step")
    artifact: ArtifactPart | None = Field(None, description="packs the artifact that is delivered")
    needs: tuple[Name, ...] | None = Field(None, description="the steps that must have passed; default: the step before")
    env: Mapping[Variable, Line] = Field(default_factory=dict, description="variables besides Manor's own; no secrets")
    timeout: Duration = Field(600.0, gt=0, description="how long it may take before it is ended with all it started")
    inputs: Globs | None = Field(
        None, description="the only files of the commit that it sees; it is done anew only when they change. Default: all, each commit"
    )
    outputs: Globs = Field((), description="what it leaves for the steps that need it, directly or through others")

    @property
    def kind(self) -> Literal["run", "test", "artifact"]:
        """Which of the three it is."""
        return "run" if self.run is not None else "test" if self.test is not None else "artifact"

    @property
    def commands(self) -> tuple[str, ...]:
        """Its command lines; none for `artifact`."""
        return self.run or self.test or ()


class Head(Part):
    """What a pipeline says besides its steps."""

    service: Name | None = Field(None, description="the service that the artifact is for; default: the one whose `repository` this is")
    timeout: Duration = Field(3600.0, gt=0, description="how long a whole run may take")


class Pipeline(Head):
    """A pipeline. Every step's `needs` is filled in, and each comes after those that it needs."""

    steps: Mapping[str, Step]

    def before(self, name: str) -> tuple[str, ...]:
        """Return all steps that a step needs, directly or through others, in order."""
        wanted = set(self.steps[name].needs or ())
        for other in reversed(list(self.steps)):
            if other in wanted:
                wanted |= set(self.steps[other].needs or ())
        return tuple(other for other in self.steps if other in wanted)

    def after(self, name: str) -> tuple[str, ...]:
        """Return all steps that need a step, directly or through others, in order."""
        return tuple(other for other in self.steps if name in self.before(other))


HEAD_LATER: dict[KeyPath, Refuses] = {(key,): ALWAYS for key in ("approvals", "env", "image", "matrix", "notify", "on", "parallel", "secrets", "triggers")}
STEP_LATER: dict[KeyPath, Refuses] = {(key,): ALWAYS for key in ("approval", "cache", "image", "jenkinsfile", "matrix", "parallel", "retry", "secrets", "when")}


def load_pipeline(source: Path) -> Pipeline:
    """Return the pipeline of a checked-out commit. Raises InvalidEstate with every problem."""
    path = source / FILE
    if path.is_symlink() or not path.is_file():
        raise InvalidEstate([f"{FILE}:1: is not there as a file; add one with steps, e.g. steps: {{build: {{run: make}}}}, see docs/pipeline.md"])
    try:
        return parse_pipeline(read_text(path, FILE))
    except SourceError as error:
        raise InvalidEstate([str(error)]) from error


def parse_pipeline(text: str, name: str = FILE) -> Pipeline:
    """Return the pipeline of a text. Raises InvalidEstate with every problem."""
    try:
        root = parse_yaml(text, name)
    except SourceError as error:
        raise InvalidEstate([str(error)]) from error
    if not isinstance(root.value, dict):
        raise InvalidEstate([f"{root.mark}: not a mapping; begin with steps: and name them below"])
    head, found = read_head(root)
    steps, wrong = read_steps(root)
    found += wrong
    if found or head is None:
        raise InvalidEstate([str(problem) for problem in sorted({located(root, finding) for finding in found})])
    return Pipeline(service=head.service, timeout=head.timeout, steps=ordered(steps))


def located(root: Node, finding: Finding) -> Problem:
    """Return a finding with the line it is about."""
    mark: Mark = root.nearest(finding.path).mark
    return Problem(mark, dotted(finding.path), finding.wrong)


def read_head(root: Node) -> tuple[Head | None, list[Finding]]:
    """Return what stands beside the steps."""
    entries = {key: child for key, child in root.entries.items() if key != "steps"}
    return validate(Head, Node(entries, root.mark), HEAD_LATER, ("steps",))


def read_steps(root: Node) -> tuple[dict[str, Step], list[Finding]]:
    """Return the steps as they are written, `needs` filled in."""
    node = root.child("steps")
    if node is None or not isinstance(node.value, dict) or not node.value:
        return {}, [Finding(("steps",), "missing; a pipeline needs steps by name. Add e.g. steps: {build: {run: make}}")]
    steps: dict[str, Step] = {}
    found: list[Finding] = []
    last: tuple[str, ...] = ()
    for name, child in node.value.items():
        step, wrong = read_step(name, child)
        found += [finding.below("steps", name) for finding in wrong]
        if step is not None:
            steps[name] = step if step.needs is not None else step.model_copy(update={"needs": last})
        last = (name,)
    return steps, found + check_needs(steps, node) + check_artifacts(steps)


def read_step(name: str, node: Node) -> tuple[Step | None, list[Finding]]:
    """Return one step, or what is wrong with it."""
    found = check_name(name)
    if not isinstance(node.value, dict):
        return None, [*found, Finding((), f"{show(node.plain())} is not a mapping; write e.g. {{run: make}}")]
    step, wrong = validate(Step, node, STEP_LATER)
    return step, [*found, *wrong, *check_kind(node)]


def check_name(name: str) -> list[Finding]:
    """Return what is wrong with a step's name."""
    if name == RESERVED:
        return [Finding((), f"{name} is the name of Manor's own last step; choose another")]
    fits = NAME.fullmatch(name)
    return [] if fits else [Finding((), f"{show(name)} is not a name; use a-z, 0-9 and -, beginning with a letter, at most 31 characters")]


def check_kind(node: Node) -> list[Finding]:
    """Return what is wrong with the choice between run, test and artifact."""
    kinds = [kind for kind in KINDS if kind in node.entries]
    if not kinds:
        return [Finding((), "says nothing to do; add one of run, test, artifact")]
    found = [Finding((kind,), f"stands beside {kinds[0]}; a step is one of run, test, artifact, make two steps of it") for kind in kinds[1:]]
    if kinds == ["test"] and "junit" not in node.entries:
        found.append(Finding(("junit",), "missing; nothing says where the tests leave their report. Add e.g. junit: reports/*.xml"))
    if "test" not in kinds and "junit" in node.entries:
        found.append(Finding(("junit",), f"has no meaning for {kinds[0]}; use test instead of {kinds[0]}"))
    if kinds == ["artifact"] and "outputs" in node.entries:
        found.append(Finding(("outputs",), "has no meaning for artifact; the artifact is what it leaves"))
    return found


def check_artifacts(steps: Mapping[str, Step]) -> list[Finding]:
    """Return a finding for each artifact after the first."""
    packing = [name for name, step in steps.items() if step.artifact is not None and not step.commands]
    return [Finding(("steps", name, "artifact"), f"a second artifact, after {packing[0]}, is not supported yet; keep one of them") for name in packing[1:]]


def check_needs(steps: Mapping[str, Step], node: Node) -> list[Finding]:
    """Return needs that name no step, and circles."""
    found = []
    for name, step in steps.items():
        for number, need in enumerate(step.needs or ()):
            if need not in node.entries:
                found.append(Finding(("steps", name, "needs", number), f"there is no step {need}; {suggestion(need, node.entries)}"))
    if not found:
        found += [Finding(("steps", circle[0], "needs"), f"goes in a circle: {' → '.join(circle)}; take one of them out") for circle in circles(steps)]
    return found


def circles(steps: Mapping[str, Step]) -> list[tuple[str, ...]]:
    """Return circles of needs, each told from the step that stands first in it, until none would be left if they were mended."""
    left = dict(steps)
    found: list[tuple[str, ...]] = []
    while True:
        while free := [name for name, step in left.items() if not any(need in left for need in step.needs or ())]:
            for name in free:
                del left[name]
        if not left:
            return found
        circle = first_circle(left)
        found.append((*circle, circle[0]))
        for name in circle:
            del left[name]


def first_circle(left: Mapping[str, Step]) -> tuple[str, ...]:
    """Return a circle among steps each of which needs one of them."""
    path = [next(iter(left))]
    while True:
        following = next(need for need in left[path[-1]].needs or () if need in left)
        if following in path:
            circle = path[path.index(following) :]
            first = min(range(len(circle)), key=lambda place: list(left).index(circle[place]))
            return (*circle[first:], *circle[:first])
        path.append(following)


def ordered(steps: Mapping[str, Step]) -> Mapping[str, Step]:
    """Return the steps so that each comes after those it needs; otherwise as they are written."""
    done: dict[str, Step] = {}
    while len(done) < len(steps):
        name = next(name for name, step in steps.items() if name not in done and all(need in done for need in step.needs or ()))
        done[name] = steps[name]
    return done


def described(fields: Iterable[type[Part]] = (Head, Step, ArtifactPart)) -> dict[str, str]:
    """Return every key with what it means, for the documentation's test."""
    return {field.alias or name: field.description or "" for part in fields for name, field in part.model_fields.items()}
