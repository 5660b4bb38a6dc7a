"""Files that are shipped beside code (objectives, campaigns, drills): whoever runs reads the ones that belong to it.

An editable install leaves a copy of them in site-packages, in a folder that bears the package's name. It is stale after
the first edit, and must never be read.
"""

import importlib.util
import tomllib
from pathlib import Path

import pytest

from spillway_load import campaign
from spillway_slo import loading

ROOT = Path(__file__).parents[2]
WHEEL = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"][
    "wheel"
]
SHIPPED = sorted(WHEEL["force-include"].items())


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize(("source", "installed"), SHIPPED, ids=[source for source, _ in SHIPPED])
def test_code_finds_the_files_that_belong_to_it(source: str, installed: str) -> None:
    package, _, name = installed.partition("/")
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin is not None, f"{package} is only the folder of a copy"
    code = Path(found.origin).parent
    if (code / name).is_dir():  # installed from a wheel
        assert contents(code / name) == contents(ROOT / source)
    else:
        assert code.parent / name == ROOT / source
    assert contents(ROOT / source)


def test_shipped_objectives_and_campaigns_are_read_from_there() -> None:
    for found, source in ((loading.SHIPPED, "slo/objectives"), (campaign.SHIPPED, "loadtests/campaigns")):
        assert contents(found) == contents(ROOT / source)
