"""The folder that a compose file mounts: Prometheus's and Alertmanager's own tools find no fault, and its parts fit."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "dashboards" / "provisioning"
LOOPBACK = re.compile(r"127\.0\.0\.1:\d+|http://127\.0\.0\.1:\d+.*")


def read(*parts: str) -> Any:
    return msgspec.yaml.decode(FOLDER.joinpath(*parts).read_bytes())


def mounts(service: str) -> dict[str, Path]:
    """Where each path inside a service's container lies outside; volumes of its own are left out."""
    listed = (re.sub(r"\$\{\w+:-(\w+)\}", r"\1", each) for each in read("compose.yaml")["services"][service]["volumes"])
    pairs = (mount.split(":")[:2] for mount in listed)
    return {inside: (FOLDER / outside).resolve() for outside, inside in pairs if outside.startswith(".")}


def outside(service: str, path: str) -> Path:
    """Where a path inside a service's container lies outside of it."""
    for inside, folder in mounts(service).items():
        if path.startswith(inside + "/"):
            return folder / path.removeprefix(inside + "/")
    raise AssertionError(f"{service} mounts nothing at {path}")


def checked(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["prometheus.yml", "elsewhere.yml"])
def test_promtool_takes_the_configuration_and_the_rules_that_it_mounts(name: str, tmp_path: Path) -> None:
    text = (FOLDER / "prometheus" / name).read_text(encoding="utf-8")
    for pattern in read("prometheus", name)["rule_files"]:
        text = text.replace(pattern, str(outside("prometheus", pattern)))
    key = tmp_path / "admin.key"
    key.write_text("a key")
    text = text.replace("/etc/prometheus/admin.key", str(key))
    (tmp_path / name).write_text(text, encoding="utf-8")
    checked("promtool", "check", "config", str(tmp_path / name))


def test_amtool_takes_alertmanagers() -> None:
    checked("amtool", "check-config", str(FOLDER / "alertmanager" / "alertmanager.yml"))


def test_what_is_mounted_is_there() -> None:
    for service in read("compose.yaml")["services"]:
        for inside, folder in mounts(service).items():
            assert folder.is_dir(), (service, inside)
    for file in ("prometheus.yml", "elsewhere.yml"):
        assert outside("prometheus", f"/etc/prometheus/{file}").is_file()
    for service, option in (("alertmanager", "--config.file="), ("tempo", "-config.file=")):
        (path,) = (
            word.removeprefix(option)
            for word in read("compose.yaml")["services"][service]["command"]
            if word.startswith(option)
        )
        assert outside(service, path).is_file()
    (provider,) = read("grafana", "dashboards", "spillway.yaml")["providers"]
    assert list(outside("grafana", provider["options"]["path"] + "/").glob("*.json"))
    home = read("compose.yaml")["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert outside("grafana", home).is_file()


def test_images_are_pinned() -> None:
    for service in read("compose.yaml")["services"].values():
        assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", service["image"])


def test_nothing_is_opened_to_others() -> None:
    services = read("compose.yaml")["services"]
    listening = [word for each in services.values() for word in each.get("command", ()) if "listen-address" in word]
    assert len(listening) == 3
    assert all(re.search(r"=(127\.0\.0\.1:\d+)?$", word) for word in listening)
    assert services["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    tempo = read("tempo", "tempo.yaml")
    protocols = tempo["distributor"]["receivers"]["otlp"]["protocols"].values()
    assert all(LOOPBACK.fullmatch(each["endpoint"]) for each in protocols)
    assert {tempo["server"][f"{kind}_listen_address"] for kind in ("http", "grpc")} == {"127.0.0.1"}


def test_an_exemplar_leads_to_tempo() -> None:
    sources = {source["uid"]: source for source in read("grafana", "datasources", "spillway.yaml")["datasources"]}
    (chosen,) = (source for source in sources.values() if source.get("isDefault"))
    assert chosen["type"] == "prometheus"
    (leads,) = chosen["jsonData"]["exemplarTraceIdDestinations"]
    assert leads["name"] == "trace_id"
    assert sources[leads["datasourceUid"]]["type"] == "tempo"
    tempo = read("tempo", "tempo.yaml")["server"]
    assert sources[leads["datasourceUid"]]["url"] == f"http://127.0.0.1:{tempo['http_listen_port']}"
    prometheus = read("compose.yaml")["services"]["prometheus"]["command"]
    assert "--enable-feature=exemplar-storage" in prometheus
    assert f"--web.listen-address={chosen['url'].removeprefix('http://')}" in prometheus


def test_alerts_reach_alertmanager_and_each_severity_a_receiver() -> None:
    for name in ("prometheus.yml", "elsewhere.yml"):
        (manager,) = read("prometheus", name)["alerting"]["alertmanagers"]
        (target,) = manager["static_configs"][0]["targets"]
        assert f"--web.listen-address={target}" in read("compose.yaml")["services"]["alertmanager"]["command"]
    config = read("alertmanager", "alertmanager.yml")
    receivers = {receiver["name"] for receiver in config["receivers"]}
    assert {config["route"]["receiver"], *(route["receiver"] for route in config["route"]["routes"])} == receivers


def test_the_linters_exceptions_name_boards_that_are_there() -> None:
    boards = {json.loads(file.read_text())["title"] for file in (ROOT / "dashboards" / "json").glob("*.json")}
    exclusions = msgspec.yaml.decode((ROOT / "dashboards" / "json" / ".lint").read_bytes())["exclusions"]
    for rule in exclusions.values():
        assert rule["reason"]
        assert {entry["dashboard"] for entry in rule["entries"]} <= boards
