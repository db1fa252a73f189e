"""Reads JUnit XML reports: how many tests, and which failed why.

Invariant: what is kept of a report is small however large it is: totals, and the first failures.
Invariant: pure; a document type declaration is refused, so no entity is ever expanded, and nothing outside the text is read.
Format: https://github.com/testmoapp/junitxml (there is no standard; the counts are taken from the cases, not from attributes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.parsers import expat

LONGEST_MESSAGE = 2_000
MOST_FAILURES = 50
"""So many are kept of a report, the first ones; all are counted."""
MOST_REPORT_BYTES = 64 * 1024 * 1024
"""Larger ones are refused by whoever reads the file. One takes seconds to read: not in the event loop."""
MOST_DEPTH = 100
FAULTS = ("failure", "error")


class BadReport(ValueError):
    """A report that cannot be read; says why."""


@dataclass(frozen=True)
class Failure:
    """One test that failed."""

    name: str
    """`classname.name`."""
    message: str


@dataclass(frozen=True)
class Report:
    """Totals of one or more reports."""

    tests: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    failures: tuple[Failure, ...] = ()
    """The first 50."""

    def __add__(self, other: Report) -> Report:
        """Return both together."""
        failures = (*self.failures, *other.failures)[:MOST_FAILURES]
        return Report(self.tests + other.tests, self.failed + other.failed, self.skipped + other.skipped, self.seconds + other.seconds, failures)

    def __str__(self) -> str:
        """Return e.g. `12 tests, 1 failed, 2 skipped`."""
        return f"{self.tests} tests, {self.failed} failed, {self.skipped} skipped"


def parse_report(content: bytes) -> Report:
    """Return what a report says. Raises BadReport."""
    reading = _Reading()
    try:
        reading.parser.Parse(content, True)
    except BadReport:
        raise
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise BadReport(f"is not XML: {error}") from error
    if not reading.is_report:
        raise BadReport("is not a JUnit report: the outermost element is neither testsuites nor testsuite")
    return reading.report()


@dataclass
class _Case:
    name: str
    seconds: float
    faults: list[str] = field(default_factory=list)
    is_failed: bool = False
    is_skipped: bool = False


class _Reading:
    """What was read so far."""

    def __init__(self) -> None:
        self.tests = self.failed = self.skipped = 0
        self.seconds = 0.0
        self.failures: list[Failure] = []
        self.is_report = False
        self.open: list[str] = []
        self.case: _Case | None = None
        self.text: list[str] | None = None
        self.parser = expat.ParserCreate()
        self.parser.StartDoctypeDeclHandler = self._refuse_doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters

    def report(self) -> Report:
        return Report(self.tests, self.failed, self.skipped, self.seconds, tuple(self.failures))

    def _refuse_doctype(self, *_: object) -> None:
        raise BadReport("has a document type declaration; a report needs none, and entities are not expanded")

    def _start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if not self.open:
            self.is_report = tag in ("testsuites", "testsuite")
        self.open.append(tag)
        if len(self.open) > MOST_DEPTH:
            raise BadReport(f"is nested deeper than {MOST_DEPTH} elements")
        if tag == "testcase":
            name = ".".join(part for part in (attributes.get("classname", ""), attributes.get("name", "")) if part)
            self.case = _Case(name, _seconds(attributes.get("time", "")))
        elif self.case is not None and self.open[-2] == "testcase":
            self._start_result(self.case, tag, attributes)

    def _start_result(self, case: _Case, tag: str, attributes: Mapping[str, str]) -> None:
        if tag in FAULTS:
            case.is_failed = True
            case.faults.append(attributes.get("message", ""))
            self.text = []
        elif tag == "skipped":
            case.is_skipped = True

    def _characters(self, text: str) -> None:
        if self.text is not None:
            self.text.append(text)

    def _end(self, tag: str) -> None:
        self.open.pop()
        if tag in FAULTS and self.case is not None and self.text is not None:
            if not self.case.faults[-1]:
                self.case.faults[-1] = "".join(self.text).strip()
            self.text = None
        elif tag == "testcase" and self.case is not None:
            self._count(self.case)
            self.case = None

    def _count(self, case: _Case) -> None:
        self.tests += 1
        self.seconds += case.seconds
        self.skipped += case.is_skipped and not case.is_failed
        if case.is_failed:
            self.failed += 1
            if len(self.failures) < MOST_FAILURES:
                self.failures.append(Failure(case.name[:LONGEST_MESSAGE], "\n".join(case.faults)[:LONGEST_MESSAGE]))


def _seconds(text: str) -> float:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return 0.0
