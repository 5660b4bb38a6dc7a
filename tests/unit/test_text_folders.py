"""From a model's name to its folder, without a network."""

from pathlib import Path

import pytest

from spillway_text import folders
from spillway_text.errors import ModelNotFoundError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    return tmp_path


def test_a_folder_is_itself_and_is_never_downloaded(folder: Path) -> None:
    assert folders.resolve_model(str(folder), download=lambda _: pytest.fail("asked the hub")) == folder


def test_a_hub_id_is_downloaded(folder: Path) -> None:
    cache = {"owner/some-model.v1": folder}
    assert folders.resolve_model("owner/some-model.v1", download=cache.__getitem__) == folder


@pytest.mark.parametrize("name", ["/nowhere/at/all", "./nowhere", "~/nowhere-at-all", "a/b/c", "own er/model"])
def test_what_cannot_be_an_id_is_not_asked_for(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="does not exist; give a folder"):
        folders.resolve_model(name, download=lambda _: pytest.fail("asked the hub"))


def test_a_file_and_a_folder_of_something_else_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.touch()
    with pytest.raises(ModelNotFoundError, match="is a file; give the folder"):
        folders.resolve_model(str(file))
    with pytest.raises(ModelNotFoundError, match=r"holds no config\.json"):
        folders.resolve_model(str(tmp_path))


def test_no_pickles_and_no_code_are_fetched() -> None:
    assert not any(pattern.endswith((".bin", ".py", ".pt", ".pth", "*")) for pattern in folders.ALLOWED_FILES)


@pytest.mark.parametrize("code", [False, True])
def test_code_is_fetched_for_who_trusts_it_and_second_copies_of_weights_never(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: bool
) -> None:
    asked: dict[str, list[str]] = {}

    def snapshot(_: str, **wanted: list[str]) -> str:
        asked.update(wanted)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert folders.resolve_model("owner/model", code=code) == folder
    assert ("*.py" in asked["allow_patterns"]) == code
    assert asked["ignore_patterns"] == ["consolidated*", "original/*"]


def test_an_unreachable_hub_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelNotFoundError, match=r"'owner/model' is no folder here.*pass the path of a folder"):
        folders.download_from_hub("owner/model")
