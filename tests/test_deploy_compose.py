"""deploy/compose.yaml against the files that it mounts and the addresses that these name.

Law of this file: nothing is started but ``validator check``; what runs is seen in ``test_deploy_compose_runs``.
"""

import hashlib
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
SIDECARS = ["sidecar", "sidecar-2"]


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


def test_sockets_are_where_kong_looks_for_them() -> None:
    socket = VALIDATOR["listen"]["data"]
    folder = Path(socket.removeprefix("unix:")).parent
    (plugin,) = KONG["services"][0]["plugins"]
    assert plugin["name"] == "credential-validator"
    asked = [plugin["config"]["validator_url"], *plugin["config"]["fallback_validator_urls"]]
    for url, service, volume in zip(asked, SIDECARS, ("sockets", "sockets-2"), strict=True):
        assert target_of(service, volume) == str(folder)
        assert url == f"unix:{target_of('kong', volume)}/data.sock"
    assert asked[0] == socket
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
    assert jobs == {
        "credential-validator": [f"{sidecar}:{control}" for sidecar in SIDECARS],
        "kong": [f"kong:{status}"],
    }
    assert SERVICES["sidecar"]["ports"] == [f"127.0.0.1:{control}:{control}"]
    (second,) = SERVICES["sidecar-2"]["ports"]
    assert second.endswith(f":{control}")
    assert f"http://{second.removesuffix(f':{control}')}: what is written" in TEXT
    shared = {name: set(service["networks"]) for name, service in SERVICES.items()}
    pairs = [("kong", "echo"), ("prometheus", "kong")]
    for sidecar in SIDECARS:
        pairs += [(sidecar, "idp"), ("prometheus", sidecar), (sidecar, "redis")]
    for one, other in pairs:
        assert shared[one] & shared[other], (one, other)
    assert not shared["kong"] & shared["idp"]


def test_secrets_are_mounted_where_they_are_read() -> None:
    redis = SERVICES["redis"]
    own = {
        VALIDATOR["control"]["token_file"],
        VALIDATOR["session"]["keys_file"],
        VALIDATOR["redis"]["password_file"],
    }
    read = {
        **dict.fromkeys(SIDECARS, own),
        "redis": set(
            re.findall(r"/run/secrets/[\w-]+", " ".join(redis["command"] + redis["healthcheck"]["test"]))
        ),
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
def test_sidecars_configuration_passes_its_check_but_for_the_warnings_that_it_explains(tmp_path: Path) -> None:
    (tmp_path / "control-token").write_text("0123456789abcdef" * 4)
    (tmp_path / "session-keys").write_text("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n")
    (tmp_path / "redis-password").write_text("0123456789abcdef" * 4)
    for secret in tmp_path.iterdir():
        secret.chmod(0o600)
    config = tmp_path / "validator.yaml"
    text = (DEPLOY / "compose" / "validator.yaml").read_text().replace("/run/secrets", str(tmp_path))
    config.write_text(text.replace("/var/lib/validator", str(tmp_path)))
    ran = command("check", "--config", str(config))
    assert ran.code == 0, ran.out + ran.err
    warned = re.findall(r"^warning: \S+:\d+: (\S+): ", ran.out, re.MULTILINE)
    assert warned == ["strategies.plain.issuer", "redis.url"], ran.out  # in clear, on networks of their own


def test_each_sidecar_has_a_store_and_a_socket_of_its_own() -> None:
    own = [{volume.partition(":")[0] for volume in SERVICES[sidecar]["volumes"]} for sidecar in SIDECARS]
    assert own[0] & own[1] == {"./compose/validator.yaml"}
    for sidecar in SIDECARS:
        assert str(Path(VALIDATOR["store"]["path"]).parent) in {
            target for name, _, target in mounts() if name == sidecar
        }


def test_redis_is_for_the_sidecars_alone() -> None:
    redis = SERVICES["redis"]
    assert "profiles" not in redis
    assert "ports" not in redis
    assert redis["networks"] == ["redis"]
    assert COMPOSE["networks"]["redis"] == {"internal": True}
    on_it = {name for name, service in SERVICES.items() if "redis" in service["networks"]}
    assert on_it == {"redis", *SIDECARS}
    assert VALIDATOR["redis"]["url"] == "redis://redis:6379"


def test_redis_drops_no_registry_when_its_memory_is_full() -> None:
    words = SERVICES["redis"]["command"]
    assert words[words.index("--maxmemory-policy") + 1].startswith(("volatile-", "noeviction"))
    assert "--maxmemory" in words


def test_no_sidecar_is_unhealthy_for_want_of_redis() -> None:
    for sidecar in SIDECARS:
        assert "/readyz?exclude=redis'" in SERVICES[sidecar]["healthcheck"]["test"][-1]


@pytest.mark.programs
def test_redis_s_user_may_do_what_the_page_on_operation_says(tmp_path: Path) -> None:
    (tmp_path / "make-secrets").write_text((DEPLOY / "compose" / "make-secrets").read_text())
    subprocess.run(["sh", str(tmp_path / "make-secrets")], check=True)
    password = (tmp_path / "secrets" / "redis-password").read_text().strip()
    default, own = (tmp_path / "secrets" / "redis-users").read_text().splitlines()
    assert default == "user default off"
    page = (ROOT / "docs" / "operations.md").read_text()
    (said,) = re.findall(r"^(user validator on >PASSWORD .*?)^```", page, re.DOTALL | re.MULTILINE)
    digest = hashlib.sha256(password.encode()).hexdigest()
    wanted = {*said.replace(">PASSWORD", f"#{digest}").split(), "+client|setname"}
    assert set(own.split()) == wanted
    assert password not in own


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
