"""Units parse, print and parse again to the same; what is not one is refused."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from manor.estate import units


@given(st.integers(0, 10**6), st.sampled_from(sorted(units.DURATIONS)))
@example(524_285, "ms")  # times 1000 it is no whole number of a float
def test_durations_round_trip(number: int, unit: str) -> None:
    seconds = units.parse_duration(f"{number}{unit}")
    assert units.parse_duration(units.format_duration(seconds)) == seconds
    assert seconds == pytest.approx(number * units.DURATIONS[unit])


@given(st.integers(0, 10**6), st.sampled_from(sorted(units.SIZES)))
def test_sizes_round_trip(number: int, unit: str) -> None:
    size = units.parse_size(f"{number}{unit}")
    assert size == number * units.SIZES[unit]
    assert units.parse_size(units.format_size(size)) == size


@given(st.integers(0, 10000))
def test_shares_round_trip(hundredths: int) -> None:
    share = units.parse_share(f"{hundredths / 100:.2f}%")
    assert units.parse_share(units.format_share(share)) == share
    assert 0 <= share <= 1


@pytest.mark.parametrize(("text", "seconds"), [("250ms", 0.25), ("2s", 2), ("1.5m", 90), ("1h", 3600), ("30d", 2592000), (0, 0), (0.1, 0.1)])
def test_durations(text: object, seconds: float) -> None:
    assert units.parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.25, "250ms"),
        (1.5, "1500ms"),
        (524.285, "524285ms"),
        (0.0000015, "0.0015ms"),
        (26983756.8, "26983756.8s"),
        (90, "90s"),
        (600, "10m"),
        (86400, "1d"),
    ],
)
def test_durations_are_printed(seconds: float, text: str) -> None:
    assert units.format_duration(seconds) == text


@pytest.mark.parametrize("wrong", ["2", "s", "-1s", "1 s", "1w", "1e3s", "٣s", True, 5, None, [], {}])
def test_wrong_durations(wrong: object) -> None:
    with pytest.raises(ValueError, match="is not a duration; write"):
        units.parse_duration(wrong)


@pytest.mark.parametrize("wrong", ["512M", "1 PB", "-1B", 512, "1KB", True, ""])
def test_wrong_sizes(wrong: object) -> None:
    with pytest.raises(ValueError, match="is not a size; write"):
        units.parse_size(wrong)


@pytest.mark.parametrize("wrong", ["101%", "-1%", "0.5", 75, 1.5, "100.1%"])
def test_wrong_shares(wrong: object) -> None:
    with pytest.raises(ValueError, match="is not a share; write"):
        units.parse_share(wrong)


NAMERS = {
    units.parse_name: r"[a-z][a-z0-9-]{0,30}",
    units.parse_host_name: r"[A-Za-z0-9.-]+",
    units.parse_variable: r"[A-Za-z_][A-Za-z0-9_]*",
    units.parse_cookie: r"[A-Za-z0-9._-]+",
    units.parse_folder: r"[A-Za-z0-9._/-]+",
    units.parse_http_path: r"/[!-~]*",
}


@pytest.mark.parametrize("parse", NAMERS, ids=lambda parse: parse.__name__)
@given(text=st.text(max_size=40) | st.text("ab-_./:;\"'{}$ \n\x00\\%0", max_size=12))
def test_names_never_hold_what_breaks_out(parse: object, text: str) -> None:
    try:
        accepted = parse(text)  # type: ignore[operator]
    except ValueError:
        return
    assert accepted == text
    assert re.fullmatch(NAMERS[parse], text)  # type: ignore[index]
    assert not set(text) & set('"{}\\ \n\r\t\x00`<>|')
