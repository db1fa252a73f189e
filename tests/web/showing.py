"""A status page with everything on it, for tests and for looking at."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from manor.web.views import StatusPage


@cache
def full_page() -> StatusPage:
    """Return a page in the middle of a rollout."""
    return StatusPage.model_validate(yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text()))
