"""compose.yaml, without an engine: read as Compose reads it, and every reference followed."""

import os
import re
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

from monitoring.serve import targets
from qasir import __version__
from qasir.triton import KEY_HEADER
from service.settings import PREFIX, Settings
from service.stack.triton_server import RESTRICTED

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "compose.yaml").read_text()
KEY = "a-secret"
VARIABLE = re.compile(r"\$\{(\w+)(?:(:-|:\?)([^}]*))?\}")
# Theirs: nothing of qasir reads them.
FOREIGN = ("GF_", "GRAFANA_", "TRITON_IMAGE", "SERVICE_IMAGE", "SERVICE_USER")


def interpolated(text: str, given: dict[str, str]) -> str:
    """The text with its variables replaced, as Compose does it."""

    def replace(match: re.Match[str]) -> str:
        name, operator, words = match.groups()
        if name in given:
            return given[name]
        if operator == ":-":
            return str(words)
        raise KeyError(name)

    return VARIABLE.sub(replace, text)


def parsed(text: str = TEXT) -> dict[str, Any]:
    given = {"QASIR_TRITON_KEY": KEY, "GRAFANA_PASSWORD": "p"}
    read = compose_spec.PyOptions(apply_merge=True).from_yaml(interpolated(text, given))
    read.validate()
    return read.to_dict()


SERVICES: dict[str, dict[str, Any]] = parsed()["services"]


def environment(service: str) -> dict[str, str]:
    found: dict[str, str] = SERVICES[service].get("environment", {})
    return found


def sources(service: dict[str, Any]) -> list[str]:
    volumes = [v for v in service.get("volumes", []) if isinstance(v, str)]
    return [volume.split(":")[0] for volume in volumes]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("healthcheck:", "healtcheck:"),
        ("condition: service_healthy", "condition: healthy"),
        ("interval: 10s", "interval: ten"),
        ("127.0.0.1:${QASIR_HTTP_PORT:-3000}:3000", "127.0.0.1:http:3000"),
    ],
)
def test_a_wrong_word_would_be_noticed(right: str, wrong: str) -> None:
    assert right in TEXT
    with pytest.raises(ValueError, match=r"."):
        parsed(TEXT.replace(right, wrong, 1))


def test_secrets_have_no_default() -> None:
    for missing in ("QASIR_TRITON_KEY", "GRAFANA_PASSWORD"):
        given = {"QASIR_TRITON_KEY": KEY, "GRAFANA_PASSWORD": "p"}
        del given[missing]
        with pytest.raises(KeyError, match=missing):
            interpolated(TEXT, given)


def test_everything_is_there() -> None:
    assert set(SERVICES) == {
        *("triton", "service", "worker"),
        *("prometheus", "grafana", "node-exporter"),
    }
    for name, service in SERVICES.items():
        assert re.search(r":v?\d+\.\d+", service["image"]), f"{name}: pin {service['image']}"
        for other in service.get("depends_on", {}):
            assert "healthcheck" in SERVICES[other]


def test_files_and_volumes_exist() -> None:
    declared = set(parsed()["volumes"])
    for service in SERVICES.values():
        for source in sources(service):
            # The state folder is made by whoever adds the first model.
            known = source in declared or source.startswith("./state")
            assert known or (ROOT / source).exists(), source


def test_environment_names_are_settings() -> None:
    names = {name for service in SERVICES for name in environment(service)}
    names |= {match[1] for match in VARIABLE.finditer(TEXT)}
    mine = {name for name in names if not name.startswith(FOREIGN)}
    assert mine
    for name in mine:
        assert name.startswith(PREFIX)
        assert name.removeprefix(PREFIX).lower() in Settings.model_fields, name


def test_the_settings_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    for name, value in environment("service").items():
        monkeypatch.setenv(name, value)
    assert Settings().triton_url == "triton:8001"


def test_triton_is_new_enough_and_not_published() -> None:
    triton = SERVICES["triton"]
    assert "ports" not in triton
    (release,) = re.findall(r"tritonserver:(\d\d\.\d\d)-py3$", triton["image"])
    # Earlier ones have holes in their shared-memory API.
    assert release >= "25.07"
    assert all(volume.endswith(":ro") for volume in triton["volumes"])


def test_only_the_service_holds_the_key() -> None:
    holders = {name for name in SERVICES if KEY in environment(name).values()}
    assert holders == {"service"}
    guarded = f"{RESTRICTED}:{KEY_HEADER}={KEY}"
    command = SERVICES["triton"]["command"]
    assert f"--http-restricted-api={guarded}" in command
    assert f"--grpc-restricted-protocol={guarded}" in command


def test_what_is_published_is_on_loopback() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == 4
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_prometheus_scrapes_these_services() -> None:
    mounted = dict(volume.split(":")[:2] for volume in SERVICES["prometheus"]["volumes"])
    for name in ("prometheus.yml", "targets.yml", "rules"):
        assert mounted[f"./monitoring/{name}"] == f"/etc/prometheus/{name}"
    groups = yaml.safe_load((ROOT / "monitoring" / "targets.yml").read_text())
    where = {group["labels"]["job"]: group["targets"][0] for group in groups}
    # As `make monitor` has them, but for the hosts.
    local = {one["labels"]["job"]: one["targets"][0] for one in targets(Settings(), node=True)}
    assert {job: at.split(":")[1] for job, at in where.items()} == {
        job: at.split(":")[1] for job, at in local.items()
    }
    assert {at.split(":")[0] for at in where.values()} <= set(SERVICES)


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    folder = ROOT / "monitoring" / "grafana"
    provisioned = folder / "provisioning" / "datasources" / "prometheus.yml"
    (source,) = yaml.safe_load(provisioned.read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    home = environment("grafana")["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (folder / "dashboards" / Path(home).name).is_file()


def test_service_and_worker_run_the_bento_of_this_version() -> None:
    bento = yaml.safe_load((ROOT / "bentofile.yaml").read_text())
    for name in ("service", "worker"):
        assert SERVICES[name]["image"] == f"{bento['name']}:{__version__}"
        module = SERVICES[name]["command"][2].replace(".", "/")
        assert (ROOT / f"{module}.py").is_file() or (ROOT / module / "__main__.py").is_file()
