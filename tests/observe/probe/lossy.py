"""A real server on loopback that loses requests on purpose, and knows how many."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "shop.prod.localhost"
ANSWERS = {"/": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "/503": b"HTTP/1.1 503 X\r\nContent-Length: 4\r\n\r\ndown"}
LINGER_NOT = struct.pack("ii", 1, 0)


class LossyServer:
    """What happens to a request follows from its path."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self.answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split()[1]
        self.seen[path] += 1
        if "Content-Length: " in head:
            await reader.readexactly(int(head.partition("Content-Length: ")[2].split()[0]))
        match path:
            case "/hang":
                await asyncio.sleep(30)
            case "/reset":
                reset(writer)
                return False
            case "/cut":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
                await writer.drain()
                return False
            case _:
                writer.write(ANSWERS[path])
        return "Connection: close" not in head


def reset(writer: asyncio.StreamWriter) -> None:
    """End the connection with a RST."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    writer.transport.abort()


@asynccontextmanager
async def serving(server: LossyServer, address: str, tls: ssl.SSLContext | None) -> AsyncIterator[int]:
    listener = await asyncio.start_server(server.serve, address, 0, ssl=tls)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()


def make_certificate(folder: Path) -> ssl.SSLContext:
    """Write ca.pem, self-signed for HOST; return the server's side."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(HOST), x509.IPAddress(ipaddress.ip_address("127.204.1.1"))])
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now - datetime.timedelta(hours=1), now + datetime.timedelta(days=1)
    )
    certificate = (
        builder.add_extension(names, critical=False).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    return context
