"""A shared folder survives releases: both slots write to it, also where the artifact brings a folder of that name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.e2e.estates import LiveEstate, curl

ESTATE = """\
estate: shared
domain: shared.example
services:
  guests:
    run: {command: "python3 guests.py {address} {port}", port: 8300}
    health: {http: /healthz, interval: 300ms, passes: 2}
    routes: [{host: guests}]
    shared: {var/book: {}}
    rollout: {min_healthy_time: 100ms, settle: 100ms, drain_timeout: 2s, instance_deadline: 30s}
traffic: {chain: [{balancer: haproxy}, {web: nginx}]}
environments: {dev: {}}
"""
GUESTS = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BOOK = Path("var/book/guests")


class Guests(BaseHTTPRequestHandler):
    def answer(self, text):
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        self.answer(b"VERSION " + (BOOK.read_bytes() if BOOK.exists() else b""))

    def do_POST(self):
        with BOOK.open("ab") as book:
            book.write(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(b"written")


ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Guests).serve_forever()
"""


def artifact(folder: Path, version: str) -> Path:
    """Make a release that brings a folder where the shared one belongs."""
    (folder / "var" / "book").mkdir(parents=True)
    (folder / "var" / "book" / ".gitkeep").touch()
    (folder / "guests.py").write_text(GUESTS.replace("VERSION", version))
    return folder


def test_what_is_written_in_one_release_is_read_in_the_next(make_estate: Callable[[str], LiveEstate], tmp_path: Path) -> None:
    estate = make_estate(ESTATE)
    estate.up()
    for number, guest in enumerate(("ada", "bob", "cy"), 1):
        estate.run("ship", "guests", "--artifact", str(artifact(tmp_path / str(number), f"v{number}")))
        host, port = estate.front("dev", "guests")
        assert curl(estate, host, port, "/", "--data", f"{guest} ").stdout == "written"
    assert curl(estate, host, port, "/").stdout == "v3 ada bob cy "
    estate.run("rollback", "guests", "-e", "dev")
    assert curl(estate, host, port, "/").stdout == "v2 ada bob cy "
    kept = estate.host_folder("dev", "all-1") / "shared" / "guests" / "var" / "book" / "guests"
    assert kept.read_text() == "ada bob cy "
