"""Durations, sizes, shares, names and paths: parsed once, into base units.

Invariant: a value that parses prints back to itself with `format_*`; errors say which spellings are understood.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

MOST_QUOTED = 80
DURATIONS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
MOST_SECONDS_IN_MS = 1_000_000
"""Above it milliseconds have more digits than DURATION allows."""
SIZES = {"B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
HTTP_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*")
DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)")
SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?(B|kB|MB|GB|KiB|MiB|GiB)")
SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?)%")
HOST_NAME = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TOKEN = re.compile(r"[A-Za-z0-9._-]+")
MOVED_TO = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/?#-]*)?|/(?!/)[A-Za-z0-9._~!$&'()*+,;=:@%/?#-]*")
ABSOLUTE = re.compile(r"/[^\x00-\x1f\x7f]*")
FOLDER = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._-]*(/[A-Za-z0-9._][A-Za-z0-9._-]*)*")
DOMAIN = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
UNIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.@\\-]{0,254}")
USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,254}\$?")
CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
LONGEST_DOMAIN = 200
LONGEST_SECONDS = 365 * 86400.0
OURS = ".manor"
"""The folder of an artifact, and of an estate, that is Manor's own."""


def show(value: object) -> str:
    """Return a wrong value as messages quote it: short, and nothing of what a mapping or list holds."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, str) and len(value) > MOST_QUOTED:
        return f"{value[:MOST_QUOTED]!r}…"
    return "nothing" if value is None else repr(value)


def parse_duration(value: object) -> float:
    """Return seconds from `250ms`, `2s`, `10m`, `1h`, `30d` or a bare 0. Raises ValueError."""
    match = DURATION.fullmatch(value) if isinstance(value, str) else None
    if match:
        return float(Decimal(match[1]) * Decimal(str(DURATIONS[match[2]])))
    if isinstance(value, float) or (value == 0 and not isinstance(value, bool)):
        return float(value)
    raise ValueError(f"{show(value)} is not a duration; write a number with ms, s, m, h or d, e.g. 30s")


def parse_time(value: object) -> float:
    """Return seconds, of which there is an end: what is longer is a slip. Raises ValueError."""
    seconds = parse_duration(value)
    if seconds > LONGEST_SECONDS:
        raise ValueError(f"{show(value)} is too long; write {format_duration(LONGEST_SECONDS)} at most")
    return seconds


def parse_size(value: object) -> int:
    """Return bytes from `512MiB`, `10MB`, `64KiB`. Raises ValueError."""
    match = SIZE.fullmatch(value) if isinstance(value, str) else None
    if match:
        return int(Decimal(match[1]) * SIZES[match[2]])
    raise ValueError(f"{show(value)} is not a size; write a number with B, kB, MB, GB, KiB, MiB or GiB, e.g. 512MiB")


def parse_share(value: object) -> float:
    """Return 0..1 from `75%`. Raises ValueError."""
    match = SHARE.fullmatch(value) if isinstance(value, str) else None
    if match and 0 <= float(match[1]) <= 100:
        return float(Decimal(match[1]) / 100)
    if isinstance(value, float) and 0 <= value <= 1:
        return value
    raise ValueError(f"{show(value)} is not a share; write a percentage from 0% to 100%")


def parse_name(value: object) -> str:
    """Return a name. Raises ValueError."""
    if isinstance(value, str) and NAME.fullmatch(value):
        return value
    raise ValueError(f"{show(value)} is not a name; use a-z, 0-9 and -, beginning with a letter, at most 31 characters")


def parse_http_path(value: object) -> str:
    """Return a path that begins with / and needs no quoting. Raises ValueError."""
    if isinstance(value, str) and HTTP_PATH.fullmatch(value):
        return value
    raise ValueError(f"{show(value)} is not a path; begin with / and percent-encode what RFC 3986 does not allow")


def parse_url_path(value: object) -> str:
    """Return a path that requests are matched by: without query, `//`, `.` and `..`. Raises ValueError."""
    path = parse_http_path(value)
    if "?" in path:
        raise ValueError(f"{show(value)} has a query, which no path that is matched has; leave it out")
    if "//" in path or {".", ".."} & set(path.split("/")):
        raise ValueError(f"{show(value)} is not in its plain form; leave out //, . and ..")
    return path


def parse_folder(value: object) -> str:
    """Return a relative path without `.` and `..`, outside of what is Manor's own. Raises ValueError."""
    if isinstance(value, str) and FOLDER.fullmatch(value) and not {".", ".."} & set(value.split("/")):
        if value.split("/")[0] == OURS:
            raise ValueError(f"{show(value)} is Manor's own folder; choose another")
        return value
    raise ValueError(f"{show(value)} is not a folder inside the release; write a relative path of A-Z, a-z, 0-9, `.`, `_`, `-`, without `.`, `..`, leading `-`")


def parse_date(value: object) -> datetime.date:
    """Return a date from YYYY-MM-DD. Raises ValueError."""
    if isinstance(value, datetime.date):
        return value
    if isinstance(value, str):
        try:
            return datetime.date.fromisoformat(value)
        except ValueError:
            pass
    raise ValueError(f"{show(value)} is not a date; write YYYY-MM-DD")


def parse_host_name(value: object) -> str:
    """Return a host name of letters, digits, hyphens and dots (RFC 1123). Raises ValueError."""
    if isinstance(value, str) and HOST_NAME.fullmatch(value) and len(value) <= 253:
        return value
    raise ValueError(f"{show(value)} is not a host name; use a-z, 0-9, - and dots, e.g. shop or shop.acme.example")


def parse_domain(value: object) -> str:
    """Return a domain in lower case. Raises ValueError."""
    if isinstance(value, str) and DOMAIN.fullmatch(value) and len(value) <= LONGEST_DOMAIN:
        return value
    raise ValueError(f"{show(value)} is not a domain; use a-z, 0-9, - and dots, at most {LONGEST_DOMAIN} characters, e.g. acme.example")


def parse_address(value: object) -> str:
    """Return an IPv4 address that one machine can have. Raises ValueError."""
    try:
        address = ipaddress.ip_address(value) if isinstance(value, str) else None
    except ValueError:
        address = None
    if address is None:
        raise ValueError(f"{show(value)} is not an IP address; write e.g. 10.1.0.21")
    if isinstance(address, ipaddress.IPv6Address):
        raise ValueError(f"{show(value)} is an IPv6 address, which is not supported yet; write an IPv4 one, e.g. 10.1.0.21")  # noqa: TRY004 - as above
    if address.is_multicast or address.is_reserved or address in ipaddress.ip_network("0.0.0.0/8"):
        raise ValueError(f"{show(value)} is no single machine's address; write the one that it is reached by, e.g. 10.1.0.21")
    return str(address)


def parse_variable(value: object) -> str:
    """Return the name of an environment variable that is free to be set. Raises ValueError."""
    if isinstance(value, str) and value.startswith("MANOR_"):
        raise ValueError(f"{show(value)} is one of Manor's own variables; choose a name without MANOR_")
    if isinstance(value, str) and VARIABLE.fullmatch(value):
        return value
    raise ValueError(f"{show(value)} is not the name of a variable; use letters, digits and _, not beginning with a digit")


def parse_line(value: object) -> str:
    """Return text without control characters. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError(f"{show(value)} is not text; put it in quotes")  # noqa: TRY004 - pydantic collects ValueErrors
    if not value.isprintable():
        raise ValueError("holds a line break or another control character; write it as one line")
    return value


def parse_env_value(value: object) -> str:
    """Return the value of an environment variable: any text of one line. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError(f"{show(value)} is not text; put it in quotes")  # noqa: TRY004 - pydantic collects ValueErrors
    if CONTROL.search(value):
        raise ValueError("holds a line break or another control character; write it as one line")
    return value


def parse_unit(value: object) -> str:
    """Return the name of a unit or supervised program. Raises ValueError."""
    return _named(value, UNIT, "a unit", "legacy.service")


def parse_user(value: object) -> str:
    """Return the name of a user. Raises ValueError."""
    return _named(value, USER, "a user", "legacy")


def parse_container(value: object) -> str:
    """Return the name of a container. Raises ValueError."""
    return _named(value, CONTAINER, "a container", "legacy-db")


def _named(value: object, pattern: re.Pattern[str], what: str, example: str) -> str:
    if isinstance(value, str) and pattern.fullmatch(value):
        return value
    if isinstance(value, str) and set("*?[") & set(value):
        raise ValueError(f"{show(value)} has a wildcard, which is not understood; write each name out, e.g. {example}")
    raise ValueError(f"{show(value)} is not the name of {what}; write e.g. {example}")


def parse_cookie(value: object) -> str:
    """Return the name of a cookie (a token of RFC 9110). Raises ValueError."""
    if isinstance(value, str) and TOKEN.fullmatch(value):
        return value
    raise ValueError(f"{show(value)} is not the name of a cookie; use letters, digits, . _ -")


def parse_moved_from(value: object) -> str:
    """Return a full host name with a path or without. Raises ValueError."""
    host, slash, path = value.partition("/") if isinstance(value, str) else ("", "", "")
    if "." in host and HOST_NAME.fullmatch(host) and (not slash or HTTP_PATH.fullmatch(f"/{path}")) and "?" not in path:
        return str(value)
    raise ValueError(f"{show(value)} is not a full host name with a path; write e.g. old.acme.example/shop")


def parse_moved_to(value: object) -> str:
    """Return a URL of http or https, or a path. Raises ValueError."""
    if not isinstance(value, str) or not MOVED_TO.fullmatch(value):
        raise ValueError(f"{show(value)} is neither a URL nor a path; write e.g. https://shop.acme.example/ or /new")
    if not value.startswith("/"):
        host, _, port = re.split("[/?#]", value.partition("://")[2])[0].partition(":")
        if not HOST_NAME.fullmatch(host):
            raise ValueError(f"{show(value)} has no host name; write e.g. https://shop.acme.example/")
        if port and not 1 <= int(port) <= 65535:
            raise ValueError(f"{show(value)} has a port that does not exist; write one from 1 to 65535")
    return value


def parse_absolute_path(value: object) -> str:
    """Return an absolute path without `.` and `..`. Raises ValueError."""
    if isinstance(value, str) and ABSOLUTE.fullmatch(value) and not {".", ".."} & set(value.split("/")):
        if set("*?") & set(value):
            raise ValueError(f"{show(value)} has a wildcard, which is not understood; name the folder, all under it is meant")
        return value
    raise ValueError(f"{show(value)} is not an absolute path; begin with / and leave out . and ..")


def format_duration(seconds: float) -> str:
    """Return the shortest spelling that parses to the same seconds."""
    for unit in ("d", "h", "m", "s"):
        if seconds and seconds % DURATIONS[unit] == 0:
            return f"{int(seconds / DURATIONS[unit])}{unit}"
    unit, parts = ("ms", 1000) if seconds < MOST_SECONDS_IN_MS else ("s", 1)
    whole, _, rest = f"{Decimal(str(seconds)) * parts:f}".partition(".")
    return f"{whole}.{rest}".rstrip("0").rstrip(".") + unit if seconds else "0s"


def format_size(size_bytes: int) -> str:
    """Return the shortest spelling that parses to the same bytes."""
    fitting = [unit for unit, factor in SIZES.items() if size_bytes and size_bytes % factor == 0]
    unit = max(fitting, key=lambda name: SIZES[name], default="B")
    return f"{size_bytes // SIZES[unit]}{unit}"


def format_share(share: float) -> str:
    """Return the percentage."""
    return f"{share * 100:.10f}".rstrip("0").rstrip(".") + "%"


@dataclass(frozen=True)
class Within:
    """What a duration or size has to be at least and at most, as a person writes both."""

    least: str
    most: str
    is_size: bool
    bounds: tuple[float, float]

    def __call__(self, value: float) -> float:
        """Return the value. Raises ValueError for one outside."""
        if self.bounds[0] <= value <= self.bounds[1]:
            return value
        spelled = format_size(int(value)) if self.is_size else format_duration(value)
        wrong = ("small", "large") if self.is_size else ("short", "long")
        raise ValueError(f"{spelled} is too {wrong[value > self.bounds[1]]}; write from {self.least} to {self.most}")


def within(least: str, most: str) -> AfterValidator:
    """Return what keeps a `Duration` or `Size` in bounds, for an annotation."""
    is_size = SIZE.fullmatch(least) is not None
    bounds = (parse_size(least), parse_size(most)) if is_size else (parse_duration(least), parse_duration(most))
    return AfterValidator(Within(least, most, is_size, bounds))


def _text(pattern: re.Pattern[str], example: object) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^(?:{pattern.pattern})$", "examples": [example]})


def counted(count: int, word: str) -> str:
    """Return how many there are of something, e.g. `1 host`, `2 hosts`."""
    return f"{count} {word}{'' if count == 1 else 's'}"


DURATION_SCHEMA = WithJsonSchema(
    {"anyOf": [{"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h|d)$"}, {"const": 0}], "examples": ["30s", "10m"]},
)

Duration = Annotated[float, BeforeValidator(parse_time), DURATION_SCHEMA]
Size = Annotated[int, BeforeValidator(parse_size), _text(SIZE, "512MiB")]
Share = Annotated[float, BeforeValidator(parse_share), _text(SHARE, "75%")]
Name = Annotated[str, BeforeValidator(parse_name), _text(NAME, "shop")]
HttpPath = Annotated[str, BeforeValidator(parse_http_path), _text(HTTP_PATH, "/healthz")]
UrlPath = Annotated[str, BeforeValidator(parse_url_path), _text(HTTP_PATH, "/api")]
WholePath = Annotated[str, BeforeValidator(parse_folder), _text(FOLDER, "public")]
Date = Annotated[datetime.date, BeforeValidator(parse_date), WithJsonSchema({"type": "string", "format": "date", "examples": ["2026-10-01"]})]
HostName = Annotated[str, BeforeValidator(parse_host_name), _text(HOST_NAME, "shop")]
Address = Annotated[str, BeforeValidator(parse_address), WithJsonSchema({"type": "string", "examples": ["10.1.0.21"]})]
Domain = Annotated[str, BeforeValidator(parse_domain), _text(DOMAIN, "acme.example")]
EnvValue = Annotated[str, BeforeValidator(parse_env_value), WithJsonSchema({"type": "string"})]
Unit = Annotated[str, BeforeValidator(parse_unit), _text(UNIT, "legacy.service")]
User = Annotated[str, BeforeValidator(parse_user), _text(USER, "legacy")]
Container = Annotated[str, BeforeValidator(parse_container), _text(CONTAINER, "legacy-db")]
Variable = Annotated[str, BeforeValidator(parse_variable), _text(VARIABLE, "TZ")]
Line = Annotated[str, BeforeValidator(parse_line), WithJsonSchema({"type": "string"})]
Cookie = Annotated[str, BeforeValidator(parse_cookie), _text(TOKEN, "sessionid")]
MovedFrom = Annotated[str, BeforeValidator(parse_moved_from), WithJsonSchema({"type": "string", "examples": ["old.acme.example/shop"]})]
MovedTo = Annotated[str, BeforeValidator(parse_moved_to), _text(MOVED_TO, "https://shop.acme.example/")]
AbsolutePath = Annotated[str, BeforeValidator(parse_absolute_path), _text(ABSOLUTE, "/opt/legacy")]
