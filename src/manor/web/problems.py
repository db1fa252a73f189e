"""How a refusal looks over HTTP: the right status, and JSON with `error`, `hint` and the verb's exit code (docs/api.md).

Invariant: only what a `ManorError` says goes out; anything unforeseen is logged here and told as such, without its text.
"""

from __future__ import annotations

import logging

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from manor import errors

log = logging.getLogger(__name__)

STATUS: tuple[tuple[type[errors.ManorError], int, str], ...] = (
    (errors.UsageError, 400, "the request is wrong as it stands; docs/api.md says what is expected"),
    (errors.InvalidEstate, 422, "mend the estate file and run `manor check`"),
    (errors.Refused, 422, "what runs goes on as it was; mend what the checker names"),
    (errors.NotOurs, 403, "nothing was changed; the named rule of the estate forbids it"),
    (errors.DifferencesFound, 409, "something was looked for and found; nothing is broken"),
    (errors.Busy, 409, "wait for the holder to finish; `manor status` shows who it is"),
    (errors.Paused, 409, "`manor resume` goes on, `manor abandon --reason …` gives it up"),
    (errors.TimedOut, 504, "try again; `manor doctor` shows what does not answer"),
    (errors.Unreachable, 502, "`manor doctor` shows what does not answer"),
    (errors.NotRestored, 500, "mend it by hand as the error says"),
    (errors.ManorError, 500, "`manor why` shows what led to it"),
)
HINTS = {
    401: "send `Authorization: Bearer <token>`; `manor repo token NAME --scope …` makes one",
    403: "ask for a token with the scope that the error names",
    404: "docs/api.md lists what there is",
    405: "docs/api.md lists what can be asked how",
    413: "a smaller file, or raise the limit",
    415: "docs/api.md says which content types are understood",
}


def problem(status: int, error: str, hint: str = "", exit_code: int | None = None) -> JSONResponse:
    """Return an error as JSON."""
    body: dict[str, object] = {"error": error, "hint": hint or HINTS.get(status, "")}
    if exit_code is not None:
        body["exit_code"] = exit_code
    headers = {"WWW-Authenticate": 'Bearer realm="Manor"'} if status == 401 else None
    return JSONResponse(body, status, headers)


def of_manor(_request: Request, error: Exception) -> Response:
    """Answer what Manor refused."""
    for kind, status, hint in STATUS:
        if isinstance(error, kind):
            return problem(status, str(error), hint, kind.exit_code)
    raise error


def of_http(request: Request, error: Exception) -> Response:
    """Answer what the router or a judge refused: JSON for the API, a line for everything else."""
    if not isinstance(error, HTTPException):
        raise error
    if request.url.path.startswith("/api/"):
        return problem(error.status_code, error.detail)
    return PlainTextResponse(f"{error.detail}\n", error.status_code, error.headers)


def of_anything(request: Request, error: Exception) -> Response:
    """Answer what nobody foresaw; the log has the whole story."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(500, "something unforeseen happened; it is in the controller's log", "look there, or ask whoever runs it")
