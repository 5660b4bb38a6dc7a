"""API keys by tenant, from a file of their own: no campaign should hold them."""

import tomllib
from pathlib import Path

import msgspec

from spillway_load.errors import CampaignError


def read_keys(file: Path | None) -> dict[str, str]:
    """Return the keys of a TOML file of lines such as `acme = "sk-…"`; none without a file. Raises `CampaignError`."""
    if file is None:
        return {}
    try:
        keys = msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")), dict[str, str])
    except OSError as error:
        raise CampaignError(f"the keys {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise CampaignError(f'the keys {file} are not lines such as acme = "…": {error}') from None
    if not keys:
        raise CampaignError(f'the keys {file} are none; write a line for each tenant, such as acme = "…"')
    return keys
