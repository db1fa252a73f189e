"""What may be said about nginx in a tier's `options`.

Vendor's page: https://nginx.org/en/docs/dirindex.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from manor.errors import InvalidEstate
from manor.estate.units import AbsolutePath, Duration, show, within

MOST_WORKERS = 1024


def parse_workers(value: object) -> object:
    """Return a number of worker processes, or `auto`. Raises ValueError."""
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_WORKERS):
        return value
    raise ValueError(f"{show(value)} is not a number of workers; write auto, or a whole number from 1 to {MOST_WORKERS}")


class NginxOptions(BaseModel):
    """Options of an nginx tier; all have defaults that are right for most."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: Annotated[int | Literal["auto"], BeforeValidator(parse_workers)] = Field("auto", description="worker processes; auto: one a core")
    connections: int = Field(4096, ge=64, le=1_000_000, description="connections of a worker, to both sides together")
    kept: int = Field(64, ge=1, le=100_000, description="idle connections that a worker keeps to each program")
    connect_timeout: Annotated[Duration, within("1ms", "1h")] = Field(2.0, description="longest wait for a connection to the program")
    prefix: AbsolutePath | None = Field(None, description="`manage: include`: what your nginx was started with as `-p`; default its own")
    header_timeout: Annotated[Duration, within("1ms", "1h")] = Field(10.0, description="a client must have sent its headers by then")


def load_options(options: Mapping[str, object], tier: str) -> NginxOptions:
    """Return the options of a tier. Raises InvalidEstate with every problem at once."""
    try:
        return NginxOptions.model_validate(dict(options))
    except ValidationError as error:
        problems = [f"{tier}: options.{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise InvalidEstate(problems) from error
