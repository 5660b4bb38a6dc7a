"""Fixtures of the integration tests."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def certificates(tmp_path: Path) -> Callable[[str], tuple[Path, Path]]:
    """Makes a certificate of that name, signed by itself: returns its file and that of its key."""

    def make(name: str) -> tuple[Path, Path]:
        certificate, key = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        openssl = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        named = [*openssl, "-subj", f"/CN={name}.example.com", "-keyout", str(key), "-out", str(certificate)]
        subprocess.run(named, check=True, capture_output=True)
        return certificate, key

    return make
