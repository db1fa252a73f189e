"""Durations, sizes, shares, names and paths: parsed once, into base units.

Invariant: a value that parses prints back to itself with `format_*`; errors say which spellings are understood.
"""

from __future__ import annotations

import datetime
import re
from typing import Annotated

from pydantic import BeforeValidator

DURATIONS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SIZES = {"B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
HTTP_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*")
FOLDER = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")


def parse_duration(value: object) -> float:
    """Return seconds from `250ms`, `2s`, `10m`, `1h`, `30d` or a bare 0. Raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", value) if isinstance(value, str) else None
    if match:
        return float(match[1]) * DURATIONS[match[2]]
    if isinstance(value, float) or (value == 0 and not isinstance(value, bool)):
        return float(value)
    raise ValueError(f"{value!r} is not a duration; write a number with ms, s, m, h or d, e.g. 30s")


def parse_size(value: object) -> int:
    """Return bytes from `512MiB`, `10MB`, `64KiB`. Raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s?(B|kB|MB|GB|KiB|MiB|GiB)", value) if isinstance(value, str) else None
    if match:
        return int(float(match[1]) * SIZES[match[2]])
    raise ValueError(f"{value!r} is not a size; write a number with B, kB, MB, GB, KiB, MiB or GiB, e.g. 512MiB")


def parse_share(value: object) -> float:
    """Return 0..1 from `75%`. Raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)%", value) if isinstance(value, str) else None
    if match and 0 <= float(match[1]) <= 100:
        return float(match[1]) / 100
    if isinstance(value, float) and 0 <= value <= 1:
        return value
    raise ValueError(f"{value!r} is not a share; write a percentage from 0% to 100%")


def parse_name(value: object) -> str:
    """Return a name. Raises ValueError."""
    if isinstance(value, str) and NAME.fullmatch(value):
        return value
    raise ValueError(f"{value!r} is not a name; use a-z, 0-9 and -, beginning with a letter, at most 31 characters")


def parse_http_path(value: object) -> str:
    """Return a path that begins with / and needs no quoting. Raises ValueError."""
    if isinstance(value, str) and HTTP_PATH.fullmatch(value):
        return value
    raise ValueError(f"{value!r} is not a path; begin with / and percent-encode what RFC 3986 does not allow")


def parse_folder(value: object) -> str:
    """Return a relative path without `..`. Raises ValueError."""
    if isinstance(value, str) and FOLDER.fullmatch(value) and ".." not in value.split("/"):
        return value
    raise ValueError(f"{value!r} is not a folder inside the release; write a relative path of A-Z, a-z, 0-9, `.`, `_`, `-`")


def parse_date(value: object) -> datetime.date:
    """Return a date from YYYY-MM-DD. Raises ValueError."""
    if isinstance(value, datetime.date):
        return value
    if isinstance(value, str):
        try:
            return datetime.date.fromisoformat(value)
        except ValueError:
            pass
    raise ValueError(f"{value!r} is not a date; write YYYY-MM-DD")


Duration = Annotated[float, BeforeValidator(parse_duration)]
Size = Annotated[int, BeforeValidator(parse_size)]
Share = Annotated[float, BeforeValidator(parse_share)]
Name = Annotated[str, BeforeValidator(parse_name)]
HttpPath = Annotated[str, BeforeValidator(parse_http_path)]
WholePath = Annotated[str, BeforeValidator(parse_folder)]
Date = Annotated[datetime.date, BeforeValidator(parse_date)]
