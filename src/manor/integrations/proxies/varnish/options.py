"""The options that a tier of this product may have in the estate."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from manor.estate.units import Duration, Size, within


class Options(BaseModel):
    """`options:` of a tier with `product: varnish`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    storage: Size = Field(256 * 1024**2, ge=1024**2, description="memory for stored answers, e.g. 256MiB")
    largest_object: Size = Field(32 * 1024**2, ge=1024, description="answers that say they are larger are passed through, never stored, e.g. 32MiB")
    log_memory: Size = Field(80 * 1024**2, ge=4 * 1024**2, description="memory of the ring that the access log is read from, e.g. 80MiB")
    header_size: Size = Field(64 * 1024, ge=8 * 1024, le=512 * 1024, description="the longest single header of a request or an answer, e.g. 64KiB")
    headers: int = Field(128, ge=64, le=1024, description="how many headers a request or an answer may have")
    threads_min: int = Field(50, ge=5, le=5000, description="threads kept ready in each of the two pools")
    threads_max: int = Field(2000, ge=100, le=10_000, description="threads at most in each of the two pools; a streaming or piped request keeps one")
    connect_timeout: Annotated[Duration, within("1ms", "1h")] = Field(5.0, description="how long connecting to the next tier may take")
