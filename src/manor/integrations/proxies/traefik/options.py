"""The options that a tier of this product may have in the estate."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from manor.estate.units import Duration, within


class Options(BaseModel):
    """`options:` of a tier with `product: traefik`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    log_level: Literal["DEBUG", "INFO", "WARN", "ERROR"] = Field("INFO", description="how much it says in its own log")
    accept_grace: Annotated[Duration, within("0s", "1d")] = Field(
        0.0, description="how long it goes on accepting requests after it was asked to end, for a balancer before it"
    )
    finish_grace: Annotated[Duration, within("0s", "1d")] = Field(30.0, description="how long running requests may take when it ends")
    idle_connections: int = Field(64, ge=1, le=10_000, description="connections kept open to one server of the next tier")
    dial_timeout: Annotated[Duration, within("1ms", "1h")] = Field(5.0, description="how long connecting to the next tier may take")
    body_in_memory: int = Field(
        1_048_576,
        ge=1024,
        description="bytes of a body of unknown length kept in memory while it is measured against the route's `body`; the rest goes to a file",
    )
    http2_streams: int = Field(250, ge=1, le=10_000, description="parallel requests on one HTTP/2 connection")
    heap_growth: int = Field(
        200,
        ge=50,
        le=1000,
        description="percent by which its memory in use may grow before it is cleaned up (`GOGC`); more: less CPU time and more memory",
    )
