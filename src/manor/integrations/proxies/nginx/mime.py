"""Media types of static files, so that nothing depends on the machine's own list.

Source: https://www.iana.org/assignments/media-types/
"""

from __future__ import annotations

from collections.abc import Mapping

TYPES: Mapping[str, tuple[str, ...]] = {
    "application/atom+xml": ("atom",),
    "application/gzip": ("gz", "tgz"),
    "application/json": ("json", "map"),
    "application/manifest+json": ("webmanifest",),
    "application/pdf": ("pdf",),
    "application/rss+xml": ("rss",),
    "application/wasm": ("wasm",),
    "application/zip": ("zip",),
    "audio/mpeg": ("mp3",),
    "audio/ogg": ("ogg",),
    "font/otf": ("otf",),
    "font/ttf": ("ttf",),
    "font/woff": ("woff",),
    "font/woff2": ("woff2",),
    "image/avif": ("avif",),
    "image/gif": ("gif",),
    "image/jpeg": ("jpeg", "jpg"),
    "image/png": ("png",),
    "image/svg+xml": ("svg", "svgz"),
    "image/webp": ("webp",),
    "image/x-icon": ("ico",),
    "text/css": ("css",),
    "text/csv": ("csv",),
    "text/html": ("htm", "html"),
    "text/javascript": ("js", "mjs"),
    "text/markdown": ("md",),
    "text/plain": ("txt",),
    "text/xml": ("xml",),
    "video/mp4": ("mp4",),
    "video/webm": ("webm",),
}
