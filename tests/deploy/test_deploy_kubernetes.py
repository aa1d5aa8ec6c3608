"""The files for Kubernetes agree with one another, with the sidecar and with Kong's charts."""

import re
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from deploy_support import DEPLOY, ROOT, blocks, documents

from validator import cli
from validator.core.redis_url import RedisEndpoint
from validator.settings import read

HERE = DEPLOY / "kubernetes"
LABEL = "app.kubernetes.io/name"
# What the charts have Kong's containers listen on.
PROXY, ADMIN, STATUS = {8000, 8443}, {8444}, {8100}


@pytest.fixture
def values() -> dict[str, Any]:
    (found,) = documents(HERE / "values-kong.yaml")
    return dict(found)


def test_both_charts_get_the_same_values(values: dict[str, Any]) -> None:
    (ingress,) = documents(HERE / "values-ingress.yaml")
    assert ingress == {"gateway": values}


def test_the_sidecar_s_container_is_confined(values: dict[str, Any]) -> None:
    (container,) = values["deployment"]["sidecarContainers"]
    assert container["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_kong_is_in_the_socket_s_group_and_mounts_it(values: dict[str, Any]) -> None:
    (container,) = values["deployment"]["sidecarContainers"]
    assert values["securityContext"]["fsGroup"] == container["securityContext"]["runAsGroup"]
    (mount,) = values["deployment"]["userDefinedVolumeMounts"]
    assert mount["mountPath"] == "/run/validator"
    assert mount["name"] in [
        own["name"] for own in container["volumeMounts"] if own["mountPath"] == "/run/validator"
    ]


def test_the_sidecar_answers_for_longer_than_kong_has_requests(values: dict[str, Any]) -> None:
    (container,) = values["deployment"]["sidecarContainers"]
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    kong_at_most = 15 + 10  # the chart's preStop, and the graceful stop of `kong quit`
    assert kong_at_most < pause < values["terminationGracePeriodSeconds"]


def test_probes_ask_the_control_plane_where_it_listens(values: dict[str, Any]) -> None:
    (container,) = values["deployment"]["sidecarContainers"]
    (sidecar,) = documents(HERE / "validator.yaml")
    (port,) = container["ports"]
    assert sidecar["listen"]["control"] == f"0.0.0.0:{port['containerPort']}"
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {probe["port"] for probe in probes.values()} == {port["name"]}
    # /readyz is 503 while one strategy has no keys: a dead identity provider would take the gateway out.
    assert {probe["path"] for probe in probes.values()} == {"/healthz"}


def test_helm_s_values_name_what_kustomize_makes(values: dict[str, Any]) -> None:
    (own,) = documents(HERE / "kustomization.yaml")
    (plugin,) = documents(ROOT / "kong-plugin" / "kustomization.yaml")
    made = {generator["name"] for page in (own, plugin) for generator in page["configMapGenerator"]}
    volumes = values["deployment"]["userDefinedVolumes"]
    used = {volume["configMap"]["name"] for volume in volumes if "configMap" in volume}
    used |= {entry["name"] for entry in values["plugins"]["configMaps"]}
    assert used == made
    for page in (own, plugin):
        assert page["generatorOptions"] == {"disableNameSuffixHash": True}
    for resource in own["resources"]:
        assert (HERE / resource / "kustomization.yaml").is_file()


def test_the_secret_that_is_made_has_what_the_sidecar_reads(values: dict[str, Any]) -> None:
    page = (HERE / "kustomization.yaml").read_text()
    (sidecar,) = documents(HERE / "validator.yaml")
    for path in (sidecar["control"]["token_file"], sidecar["session"]["keys_file"]):
        assert path.startswith("/run/secrets/validator/")
        assert f"--from-literal={path.rpartition('/')[2]}=" in page
    (secret,) = [volume["secret"] for volume in values["deployment"]["userDefinedVolumes"] if "secret" in volume]
    assert f"secret generic {secret['secretName']} " in page
    assert secret["defaultMode"] == 0o440


def container_port(values: dict[str, Any]) -> int:
    (container,) = values["deployment"]["sidecarContainers"]
    (port,) = container["ports"]
    return int(port["containerPort"])


def test_the_network_policy_gives_the_control_plane_to_prometheus_alone(values: dict[str, Any]) -> None:
    (policy,) = documents(HERE / "network-policy.yaml")
    opened = [({port["port"] for port in rule["ports"]}, rule.get("from")) for rule in policy["spec"]["ingress"]]
    assert [ports for ports, _ in opened] == [PROXY, ADMIN, STATUS | {container_port(values)}]
    assert [source is None for _, source in opened] == [True, False, False]
    assert opened[1][1][0]["podSelector"]["matchLabels"][LABEL] == "controller"


def with_redis() -> str:
    """The sidecar's configuration with the last lines in force, as the README says."""
    head, _, section = (HERE / "validator.yaml").read_text().partition("\n#redis:\n")
    return f"{head}\n" + "\n".join(line.removeprefix("#") for line in ("#redis:", *section.splitlines())) + "\n"


def test_the_lines_for_redis_are_right_once_they_are_in_force(tmp_path: Path) -> None:
    for secret in ("control-token", "session-keys", "redis-password"):
        (tmp_path / secret).write_text("A" * 43)
        (tmp_path / secret).chmod(0o600)
    config = tmp_path / "validator.yaml"
    config.write_text(with_redis().replace("/run/secrets/validator", str(tmp_path)))
    settings = read(config, environ={})
    assert settings.redis is not None
    assert settings.warnings == ()
    assert "--from-file=redis-password" in (HERE / "README.md").read_text()


def test_the_store_beside_redis_is_on_a_volume_of_the_pod(values: dict[str, Any]) -> None:
    (container,) = values["deployment"]["sidecarContainers"]
    folder = str(PurePosixPath(yaml.safe_load(with_redis())["store"]["path"]).parent)
    (mounted,) = [mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == folder]
    volumes = values["deployment"]["userDefinedVolumes"]
    (volume,) = [volume for volume in volumes if volume["name"] == mounted]
    assert "medium" not in volume["emptyDir"]  # in memory it would count against the container's limit


def test_redis_is_reached_by_the_pods_that_have_the_sidecar() -> None:
    (policy,) = documents(HERE / "redis-network-policy.yaml")
    (own,) = documents(HERE / "network-policy.yaml")
    kong, redis = policy["spec"]["ingress"]
    (source,) = kong["from"]
    assert source["podSelector"] == own["spec"]["podSelector"]
    assert source["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": documents(HERE / "kustomization.yaml")[0]["namespace"]
    }
    port = RedisEndpoint.parse(yaml.safe_load(with_redis())["redis"]["url"]).hosts[0][1]
    assert kong["ports"] == [{"port": port}]
    assert redis["from"] == [{"podSelector": {}}]


def test_the_option_that_a_comment_shows_is_the_program_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_serve", lambda arguments: int(arguments.workers))
    for name in ("values-kong.yaml", "values-ingress.yaml"):
        page = (HERE / name).read_text()
        (shown,) = re.findall(r"`(--workers \d+)`", page)
        assert cli.main([*re.findall(r"args: \[(.*)\]", page)[0].split(", "), *shown.split()]) == 4


def test_the_pod_monitor_scrapes_with_the_token_as_the_job_of_the_alerts(values: dict[str, Any]) -> None:
    (monitor,) = documents(HERE / "pod-monitor.yaml")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    (container,) = values["deployment"]["sidecarContainers"]
    assert [endpoint["port"]] == [port["name"] for port in container["ports"]]
    (secret,) = [volume["secret"] for volume in values["deployment"]["userDefinedVolumes"] if "secret" in volume]
    (sidecar,) = documents(HERE / "validator.yaml")
    assert endpoint["authorization"]["credentials"] == {
        "name": secret["secretName"],
        "key": sidecar["control"]["token_file"].rpartition("/")[2],
    }
    (relabeling,) = endpoint["relabelings"]
    assert relabeling["targetLabel"] == "job"
    assert f'job="{relabeling["replacement"]}"' in (DEPLOY / "prometheus" / "alerts.yaml").read_text()


def test_both_select_the_pods_that_have_the_sidecar() -> None:
    (policy,) = documents(HERE / "network-policy.yaml")
    (monitor,) = documents(HERE / "pod-monitor.yaml")
    selected = policy["spec"]["podSelector"]
    assert selected == monitor["spec"]["selector"]
    (key,) = documents(HERE / "values-ingress.yaml")[0]
    assert selected["matchLabels"] == {"app.kubernetes.io/instance": "kong", LABEL: key}


def test_the_route_belongs_to_the_gateway_that_is_made() -> None:
    gateway_class, gateway = documents(HERE / "gateway.yaml")
    assert gateway["spec"]["gatewayClassName"] == gateway_class["metadata"]["name"]
    (route,) = [found for found in documents(HERE / "plugin.yaml") if found["kind"] == "HTTPRoute"]
    assert [parent["name"] for parent in route["spec"]["parentRefs"]] == [gateway["metadata"]["name"]]


def test_nobody_s_service_is_replaced() -> None:
    kinds = [found["kind"] for path in sorted(HERE.glob("*.yaml")) for found in documents(path) if "kind" in found]
    assert "Service" not in kinds


def test_the_steps_name_files_that_are_there_and_select_the_pods() -> None:
    page = (HERE / "README.md").read_text()
    steps = "".join(blocks(page, "sh"))
    for file in re.findall(r"\b(deploy/[\w./-]+)", steps):
        assert (ROOT / file).exists(), file
    assert set(re.findall(rf"{LABEL}=(\w+)", steps)) == {"gateway"}
