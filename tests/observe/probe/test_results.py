"""The results file, torn and full; and what a window says."""

from __future__ import annotations

import errno
import math
from pathlib import Path

import pytest

from manor.errors import ManorError
from manor.observe.probe import Lane, LossKind, Outcome, ProbeConfig, read_results, summarize
from manor.observe.probe import results as results_module
from manor.observe.probe.process import main
from manor.observe.probe.results import Break, ResultsFile, header_line, outcome_line
from manor.observe.window import Window
from tests.observe.probe.memory import target

CONFIG = ProbeConfig(targets=(target(),))
FINE = Outcome(0, Lane.KEPT, 100.0, 100.001, 100.011, 200, None)
LOST = Outcome(0, Lane.NEW, 100.1, 100.1, 100.2, 0, LossKind.RESET)


def written(path: Path) -> ResultsFile:
    file = ResultsFile(path)
    file.append(header_line(CONFIG, 100.0))
    file.append(outcome_line(101.0, [FINE, LOST], 3, 0, ended=False))
    return file


def test_outcomes_come_back_as_they_were(tmp_path: Path) -> None:
    file = written(tmp_path / "r")
    recording = read_results(tmp_path / "r")
    assert (recording.config, recording.in_flight, recording.ended, recording.last_seen) == (CONFIG, 3, False, 101.0)
    for read, made in zip(recording.outcomes, (FINE, LOST), strict=True):
        assert read[:2] + read[5:] == made[:2] + made[5:]
        assert read[2:5] == pytest.approx(made[2:5], abs=2e-6)
    file.append(outcome_line(102.0, [], 0, 1, ended=True))
    file.close()
    ended = read_results(tmp_path / "r")
    assert (ended.ended, ended.unsent, ended.in_flight, len(ended.outcomes)) == (True, 1, 0, 2)


def test_a_line_cut_anywhere_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "r"
    written(path).close()
    content = path.read_bytes()
    first = content.index(b"\n") + 1
    for length in range(first, len(content)):
        path.write_bytes(content[:length])
        assert read_results(path).outcomes == ()
    again = ResultsFile(path)
    again.append(outcome_line(103.0, [FINE], 0, 0, ended=True))
    again.close()
    assert len(read_results(path).outcomes) == 1


def test_processes_that_follow_one_another_are_one_recording_with_breaks(tmp_path: Path) -> None:
    written(tmp_path / "r").close()
    later = ResultsFile(tmp_path / "r-2")
    later.append(header_line(CONFIG, 500.0))
    later.append(outcome_line(501.0, [FINE._replace(due=500.0, sent=500.0, done=500.1)], 0, 2, ended=True))
    later.close()
    (tmp_path / "r-3").write_bytes(b'{"torn')
    recording = read_results(tmp_path / "r", tmp_path / "r-2", tmp_path / "r-3")
    assert recording.breaks == (Break(101.0, 500.0, 3),)
    assert (len(recording.outcomes), recording.unsent, recording.in_flight, recording.ended, recording.last_seen) == (3, 2, 0, True, 501.0)


def test_a_full_disk_delays_lines_and_tears_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path / "r")
    real = results_module.write_all

    def half(descriptor: int, data: bytes) -> None:
        real(descriptor, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(results_module, "write_all", half)
    with pytest.raises(OSError, match="no space"):
        file.append(outcome_line(102.0, [FINE], 0, 0, ended=False))
    assert len(read_results(tmp_path / "r").outcomes) == 2
    monkeypatch.setattr(results_module, "write_all", real)
    file.append(outcome_line(103.0, [LOST], 0, 0, ended=True))
    file.close()
    assert len(read_results(tmp_path / "r").outcomes) == 4


@pytest.mark.parametrize("content", [b"", b"{}\n", b"[1]\n", b"x\n", b'{"probe": 99, "at": 1}\n'])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r").write_bytes(content)
    with pytest.raises(ManorError, match="no results of a probe"):
        read_results(tmp_path / "r")


def outcome(due: float, seconds: float = 0.01, kind: LossKind | None = None) -> Outcome:
    return Outcome(0, Lane.KEPT, due, due + 0.002, due + seconds, 0 if kind else 200, kind)


def test_a_window_counts_by_due_time_beside_a_baseline() -> None:
    before = [outcome(90 + number / 10, 0.010) for number in range(100)]
    inside = [outcome(100 + number / 10, 0.030) for number in range(99)] + [outcome(109.95, 5.0, LossKind.TIMED_OUT)]
    after = [outcome(110.0, kind=LossKind.RESET)]
    result = summarize([*before, *inside, *after], CONFIG, Window(100.0, 110.0), Window(90.0, 100.0))
    assert (result.sent, result.lost, result.new_connections) == (100, 1, 0)
    assert [(loss.target, loss.kind, round(loss.seconds)) for loss in result.losses] == [("health", LossKind.TIMED_OUT, 5)]
    assert result.latency.p99 == pytest.approx(0.030)
    assert result.added is not None
    assert result.added.p50 == pytest.approx(0.020)
    assert result.lateness_p99 == pytest.approx(0.002)


def test_an_empty_window_claims_nothing() -> None:
    result = summarize([], CONFIG, Window(0.0, 1.0))
    assert (result.sent, result.lost, result.added) == (0, 0, None)
    assert math.isnan(result.latency.p50)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"targets": []}', "targets"),
        ("x", "Invalid JSON"),
        (ProbeConfig(targets=(target(),)).model_dump_json(), "results: missing; say where to write them"),
    ],
)
def test_the_process_says_what_is_wrong_with_its_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    assert main([str(path)]) == 2
    assert message in capsys.readouterr().err
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err
