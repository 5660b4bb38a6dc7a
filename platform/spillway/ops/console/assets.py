"""The page's files, read once, and the headers that guard them: nothing runs but the files of this origin."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "page"
INDEX: Final = "index.html"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""What is not named here is not served."""
GUARDS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file."""

    body: bytes
    content_type: str
    etag: str

    @property
    def headers(self) -> dict[str, str]:
        """Those of its answer; `no-cache`: ask whether it is still the same, as an update must not be half."""
        return {"content-type": self.content_type, "etag": self.etag, "cache-control": "no-cache", **GUARDS}


def read_assets(folder: Path = FOLDER) -> dict[str, Asset]:
    """Return the files by their path below `folder`."""
    found = {}
    for file in sorted(folder.rglob("*")):
        content_type = _TYPES.get(file.suffix)
        if content_type is not None and file.is_file():
            body = file.read_bytes()
            etag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
            found[file.relative_to(folder).as_posix()] = Asset(body, content_type, etag)
    return found
