"""deploy/compose.yaml against the files that it mounts and the addresses that these name.

Law of this file: nothing is started but ``validator check``; what runs is seen in ``test_deploy_compose_runs``.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from sidecar_process import ROOT, command

DEPLOY = ROOT / "deploy"
TEXT = (DEPLOY / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
VALIDATOR = yaml.safe_load((DEPLOY / "compose" / "validator.yaml").read_text())
KONG = yaml.safe_load((DEPLOY / "compose" / "kong.yaml").read_text())
PROMETHEUS = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
OURS = "kong-credential-validator:development"


def mounts() -> list[tuple[str, str, str]]:
    """Service, source and target of every mount."""
    return [
        (name, *volume.removesuffix(":ro").split(":")[:2])
        for name, service in SERVICES.items()
        for volume in service.get("volumes", [])
    ]


def target_of(service: str, source: str) -> str:
    return next(target for name, found, target in mounts() if (name, found) == (service, source))


def test_every_mounted_file_is_there_and_read_only() -> None:
    for name, source, _ in mounts():
        if source.startswith("."):
            assert (DEPLOY / source).resolve().exists(), source
            assert f"{source}:{target_of(name, source)}:ro" in SERVICES[name]["volumes"]
        else:
            assert source in COMPOSE["volumes"]


@pytest.mark.programs
def test_secrets_are_the_ones_that_the_command_makes(tmp_path: Path) -> None:
    made = tmp_path / "make-secrets"
    made.write_text((DEPLOY / "compose" / "make-secrets").read_text())
    for _ in range(2):
        subprocess.run(["sh", str(made)], check=True, capture_output=True)
        files = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert set(files) == set(COMPOSE["secrets"])
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    subprocess.run(["sh", str(made)], check=True, capture_output=True)
    assert files == {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    for name, secret in COMPOSE["secrets"].items():
        assert secret["file"] == f"./compose/secrets/{name}"
    assert (DEPLOY / "compose" / ".gitignore").read_text().split() == ["secrets/"]
    assert os.access(DEPLOY / "compose" / "make-secrets", os.X_OK)


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "healthcheck" in service
    assert not service.get("privileged")
    assert all(published.startswith("127.0.0.1:") for published in service.get("ports", []))
    assert not re.search(r":(latest)?$", service["image"])


def test_dependencies_and_networks_exist() -> None:
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] == "service_started" or "healthcheck" in SERVICES[other]
        assert set(service["networks"]) <= set(COMPOSE["networks"])


def test_socket_is_where_both_look_for_it() -> None:
    socket = VALIDATOR["listen"]["data"]
    folder = str(Path(socket.removeprefix("unix:")).parent)
    assert folder == target_of("sidecar", "sockets") == target_of("kong", "sockets")
    plugin = KONG["services"][0]["plugins"][0]
    assert (plugin["name"], plugin["config"]["validator_url"]) == ("credential-validator", socket)
    dockerfile = (ROOT / "Dockerfile").read_text()
    (group,) = SERVICES["kong"]["group_add"]
    assert f"-g {group} " in dockerfile
    assert f"USER {group}:{group}" in dockerfile


def test_addresses_agree() -> None:
    idp, echo = SERVICES["idp"]["command"], SERVICES["echo"]["command"]
    assert f"--origin={VALIDATOR['strategies']['plain']['issuer']}" in idp
    assert "--listen=0.0.0.0:9400" in idp
    assert "--listen=0.0.0.0:8080" in echo
    assert KONG["services"][0]["url"] == "http://echo:8080"
    control = VALIDATOR["listen"]["control"].rpartition(":")[2]
    status = SERVICES["kong"]["environment"]["KONG_STATUS_LISTEN"].rpartition(":")[2]
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in PROMETHEUS["scrape_configs"]}
    assert jobs == {"credential-validator": [f"sidecar:{control}"], "kong": [f"kong:{status}"]}
    assert SERVICES["sidecar"]["ports"] == [f"127.0.0.1:{control}:{control}"]
    shared = {name: set(service["networks"]) for name, service in SERVICES.items()}
    for one, other in [("kong", "echo"), ("sidecar", "idp"), ("prometheus", "sidecar"), ("prometheus", "kong")]:
        assert shared[one] & shared[other], (one, other)
    assert not shared["kong"] & shared["idp"]


def test_secrets_are_mounted_where_they_are_read() -> None:
    read = {
        "sidecar": {VALIDATOR["control"]["token_file"], VALIDATOR["session"]["keys_file"]},
        "prometheus": {PROMETHEUS["scrape_configs"][0]["authorization"]["credentials_file"]},
        "grafana": {SERVICES["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD__FILE"]},
    }
    for name, paths in read.items():
        assert {f"/run/secrets/{secret}" for secret in SERVICES[name]["secrets"]} == paths


def test_grafana_finds_what_is_provisioned() -> None:
    folder = DEPLOY / "grafana" / "provisioning"
    provider = yaml.safe_load((folder / "dashboards" / "credential-validator.yaml").read_text())["providers"][0]
    assert provider["options"]["path"] == target_of("grafana", "./grafana/dashboards")
    source = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (DEPLOY / "grafana" / "dashboards" / Path(home).name).exists()


@pytest.mark.programs
def test_sidecars_configuration_passes_its_check(tmp_path: Path) -> None:
    (tmp_path / "control-token").write_text("0123456789abcdef" * 4)
    (tmp_path / "session-keys").write_text("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n")
    config = tmp_path / "validator.yaml"
    text = (DEPLOY / "compose" / "validator.yaml").read_text().replace("/run/secrets", str(tmp_path))
    config.write_text(text.replace("/var/lib/validator", str(tmp_path)))
    ran = command("check", "--config", str(config))
    assert ran.code == 0, ran.out + ran.err


def test_redis_waits_until_the_sidecar_can_use_it() -> None:
    """It starts for nobody who does not ask for it, and nothing that does start needs it."""
    assert SERVICES["redis"]["profiles"] == ["redis"]
    assert "redis" not in VALIDATOR
    others = {name: service for name, service in SERVICES.items() if name != "redis"}
    assert not any("redis" in (*other["networks"], *other.get("depends_on", ())) for other in others.values())


def test_kong_can_write_its_prefix_whatever_its_number() -> None:
    """The user kong has another number in other images, and the root is read-only."""
    kong = SERVICES["kong"]
    assert "user" not in kong
    prefix, *others = kong["tmpfs"]
    assert prefix == f"{kong['environment']['KONG_PREFIX']}:mode=1777"
    assert others == ["/tmp"]  # noqa: S108 - the image's own folder, open to all


@pytest.mark.programs
def test_the_token_is_no_argument_of_a_program(tmp_path: Path) -> None:
    """Whoever may list processes reads arguments: printf is the shell's own, curl is one that writes them down."""
    (line,) = [line for line in TEXT.splitlines() if "compose/secrets/control-token)" in line]
    curl = tmp_path / "curl"
    curl.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >>arguments\n[ "$1" = -i ] || cat >given\n')
    curl.chmod(0o755)
    (tmp_path / "compose" / "secrets").mkdir(parents=True)
    (tmp_path / "compose" / "secrets" / "control-token").write_text("canary\n")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-c", line.lstrip("# ")], check=True, cwd=tmp_path, env=environment, timeout=20)
    assert (tmp_path / "given").read_text() == "Authorization: Bearer canary"
    assert "canary" not in (tmp_path / "arguments").read_text()
    assert "http://127.0.0.1:8101/v1/revocations" in (tmp_path / "arguments").read_text()
