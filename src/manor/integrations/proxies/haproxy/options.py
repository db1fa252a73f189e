"""What may be said about HAProxy in a tier's `options`.

Vendor's page: https://docs.haproxy.org/2.6/configuration.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from manor.errors import InvalidEstate
from manor.estate.units import Duration, within


class HAProxyOptions(BaseModel):
    """Options of a HAProxy tier; all have defaults that are right for most."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    balance: Literal["leastconn", "roundrobin"] = Field("leastconn", description="how the switching tier spreads requests over ready servers")
    connections: int | None = Field(
        None, ge=10, le=10_000_000, description="most connections at a time (`maxconn`); default as many as the limit on open files allows"
    )
    threads: int = Field(1, ge=1, le=64, description="threads; with more than one an idle connection may outlive the table of idle time-outs (README)")
    purge_delay: Duration = Field(1.0, ge=0.05, le=5.0, description="how often idle connections to servers are thinned out (`pool-purge-delay`)")
    connect_timeout: Annotated[Duration, within("1ms", "1h")] = Field(2.0, description="longest wait for a connection to a server")
    queue_timeout: Annotated[Duration, within("1ms", "1h")] = Field(5.0, description="longest wait for a server to become free or healthy")
    header_timeout: Annotated[Duration, within("1ms", "1h")] = Field(10.0, description="a client must have sent its headers by then")
    hard_stop: Annotated[Duration, within("1s", "7d")] | None = Field(
        None, description="an old worker ends its last connections after so long; default the longest drain of the services, at least 30s"
    )


def load_options(options: Mapping[str, object], tier: str) -> HAProxyOptions:
    """Return the options of a tier. Raises InvalidEstate with every problem at once."""
    try:
        return HAProxyOptions.model_validate(dict(options))
    except ValidationError as error:
        problems = [f"{tier}: options.{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise InvalidEstate(problems) from error
