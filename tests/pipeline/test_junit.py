"""Reports of several programs, beside what junitparser reads in them."""

from __future__ import annotations

from pathlib import Path

import junitparser
import pytest

from manor.pipeline.junit import MOST_FAILURES, BadReport, Failure, Report, parse_report

REPORTS = sorted((Path(__file__).parent / "reports").glob("*.xml"))


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_the_totals_are_those_that_junitparser_counts(path: Path) -> None:
    report = parse_report(path.read_bytes())
    cases = list(cases_of(junitparser.JUnitXml.fromfile(str(path))))
    bad = [case for case in cases if any(isinstance(result, junitparser.Failure | junitparser.Error) for result in case.result)]
    skipped = [case for case in cases if case not in bad and any(isinstance(result, junitparser.Skipped) for result in case.result)]
    assert (report.tests, report.failed, report.skipped) == (len(cases), len(bad), len(skipped))
    assert [failure.name for failure in report.failures] == [".".join(part for part in (case.classname, case.name) if part) for case in bad]
    assert report.seconds == pytest.approx(sum(case.time or 0.0 for case in cases))


def cases_of(node: object) -> list[junitparser.TestCase]:
    if isinstance(node, junitparser.TestCase):
        return [node]
    if isinstance(node, junitparser.TestSuite):
        return list(node)  # those of suites within it too
    return [case for suite in node for case in cases_of(suite)]  # type: ignore[attr-defined]


def test_messages_are_the_attribute_or_else_the_text() -> None:
    report = parse_report(b"""<testsuites><testsuite name="s">
        <testcase classname="a" name="one"><failure message="1 is not 2">a long trace</failure></testcase>
        <testcase name="two"><error type="OSError">no\n such &amp; file</error><failure message="and this"/></testcase>
        <testcase name="three"><skipped/></testcase><testcase name="four" time="1,000.5"><system-out><![CDATA[<failure/>]]></system-out></testcase>
        </testsuite></testsuites>""")
    assert report == Report(4, 2, 1, 1000.5, (Failure("a.one", "1 is not 2"), Failure("two", "no\n such & file\nand this")))
    assert str(report) == "4 tests, 2 failed, 1 skipped"


def test_reports_add_up() -> None:
    one = Report(2, 1, 0, 1.0, (Failure("a", "x"),))
    assert one + one == Report(4, 2, 0, 2.0, (Failure("a", "x"), Failure("a", "x")))


def test_very_many_failures_are_counted_and_the_first_are_kept() -> None:
    report = parse_report(b"<testsuite>" + b"<testcase><failure/></testcase>" * 100_000 + b"</testsuite>")
    assert (report.tests, report.failed, len(report.failures)) == (100_000, 100_000, MOST_FAILURES)
    assert ((report + report).failed, len((report + report).failures)) == (200_000, MOST_FAILURES)


BILLION = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]><testsuite><testcase name="&b;"/></testsuite>"""
OUTSIDE = b"""<?xml version="1.0"?><!DOCTYPE t [<!ENTITY x SYSTEM "file:///etc/passwd">]><testsuite><testcase name="&x;"/></testsuite>"""


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not XML: no element found"),
        (b"hello", "is not XML: syntax error"),
        (b"<testsuite>", "is not XML: no element found"),
        (b"<html/>", "neither testsuites nor testsuite"),
        (b"\xff\xfe\x00", "is not XML"),
        (b"<?xml version='1.0' encoding='no-such'?><testsuite/>", "is not XML: unknown encoding"),
        (BILLION, "document type declaration"),
        (OUTSIDE, "document type declaration"),
        (b"<testsuite>" * 200, "nested deeper"),
    ],
)
def test_what_is_no_report_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(BadReport, match=says):
        parse_report(content)
