"""The files of the install pages: each can be applied as it stands, but for what is marked as the reader's own."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy_support import DEPLOY, ROOT, documents, own_files, plugin_configs, refused_configs

from validator.settings import SettingsError, read

YAML_FILES = own_files(".yaml")
SIDECARS = [path for path in YAML_FILES if path.name == "validator.yaml"]
SECRETS = "/run/secrets/validator"
# Values that nobody's installation has as they are.
PLACEHOLDER = re.compile(r"example\.com|\.internal\b|image: kong-credential-validator|client_id: orders-mobile")


def names(paths: list[Path]) -> list[Any]:
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in paths]


@pytest.mark.parametrize("path", names(YAML_FILES))
def test_it_is_yaml(path: Path) -> None:
    assert all(documents(path))


@pytest.mark.parametrize("path", names(YAML_FILES))
def test_what_is_the_reader_s_own_is_marked(path: Path) -> None:
    for line in path.read_text().splitlines():
        if PLACEHOLDER.search(line) and not line.lstrip().startswith("#"):
            assert "# yours: " in line


@pytest.mark.programs
def test_the_plugin_s_schema_takes_every_configuration(tmp_path: Path) -> None:
    found = {path.name: list(plugin_configs(documents(path))) for path in YAML_FILES}
    configs = [config for group in found.values() for config in group]
    assert {name for name, group in found.items() if group} == {
        "kong.yaml",
        "example.yaml",
        "plugin.yaml",
        "cluster-plugin.yaml",
    }
    assert refused_configs(configs, tmp_path) == []
    assert refused_configs([{**configs[0], "stategy": "plain"}], tmp_path) == [
        "configuration 1: config.stategy: unknown field"
    ]


@pytest.mark.parametrize("path", names(SIDECARS))
def test_the_sidecar_takes_its_configuration(path: Path, tmp_path: Path) -> None:
    (tmp_path / "control-token").write_text("t" * 32)
    (tmp_path / "session-keys").write_text("A" * 43)
    for secret in tmp_path.iterdir():
        secret.chmod(0o600)
    config = tmp_path / "validator.yaml"
    config.write_text(path.read_text().replace(SECRETS, str(tmp_path)))
    try:
        read(config, environ={"VALIDATOR__SESSION__KEYS": "A" * 43} if "keys_file" not in path.read_text() else {})
    except SettingsError as error:
        pytest.fail(str(error))


def test_the_plugin_looks_for_the_socket_where_the_sidecar_has_it() -> None:
    listening = {documents(path)[0]["listen"]["data"] for path in SIDECARS}
    asked = {config["validator_url"] for path in YAML_FILES for config in plugin_configs(documents(path))}
    assert listening == asked == {"unix:/run/validator/data.sock"}


def test_strategies_and_services_of_the_plugin_are_the_sidecar_s() -> None:
    for path in SIDECARS:
        (sidecar,) = documents(path)
        known = {config["strategy"] for other in YAML_FILES for config in plugin_configs(documents(other))}
        assert known <= set(sidecar["strategies"])
        assert "orders" in sidecar["applications"][0]["registrations"]


# ---- Kubernetes -----------------------------------------------------------------------------------------------


@pytest.fixture
def values() -> dict[str, Any]:
    (found,) = documents(DEPLOY / "kubernetes" / "values-kong.yaml")
    return dict(found)


def test_both_charts_get_the_same_values(values: dict[str, Any]) -> None:
    (ingress,) = documents(DEPLOY / "kubernetes" / "values-ingress.yaml")
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
    (sidecar,) = documents(DEPLOY / "kubernetes" / "validator.yaml")
    (port,) = container["ports"]
    assert sidecar["listen"]["control"] == f"0.0.0.0:{port['containerPort']}"
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {probe["port"] for probe in probes.values()} == {port["name"]}
    assert [probe["path"] for probe in probes.values()] == ["/readyz", "/readyz", "/healthz"]


def test_helm_s_values_name_what_kustomize_makes(values: dict[str, Any]) -> None:
    (own,) = documents(DEPLOY / "kubernetes" / "kustomization.yaml")
    (plugin,) = documents(ROOT / "kong-plugin" / "kustomization.yaml")
    made = {generator["name"] for page in (own, plugin) for generator in page["configMapGenerator"]}
    volumes = values["deployment"]["userDefinedVolumes"]
    used = {volume["configMap"]["name"] for volume in volumes if "configMap" in volume}
    used |= {entry["name"] for entry in values["plugins"]["configMaps"]}
    assert used == made
    for page in (own, plugin):
        assert page["generatorOptions"] == {"disableNameSuffixHash": True}
    for resource in own["resources"]:
        assert (DEPLOY / "kubernetes" / resource / "kustomization.yaml").is_file()


def test_the_secret_that_is_made_has_what_the_sidecar_reads(values: dict[str, Any]) -> None:
    page = (DEPLOY / "kubernetes" / "kustomization.yaml").read_text()
    (sidecar,) = documents(DEPLOY / "kubernetes" / "validator.yaml")
    for path in (sidecar["control"]["token_file"], sidecar["session"]["keys_file"]):
        assert path.startswith(f"{SECRETS}/")
        assert f"--from-literal={path.rpartition('/')[2]}=" in page
    (secret,) = [volume["secret"] for volume in values["deployment"]["userDefinedVolumes"] if "secret" in volume]
    assert f"secret generic {secret['secretName']} " in page
    assert secret["defaultMode"] == 0o440


# ---- scripts --------------------------------------------------------------------------------------------------


@pytest.mark.programs
@pytest.mark.parametrize("path", names(own_files(".sh")))
def test_a_script_without_its_settings_says_what_it_needs(path: Path) -> None:
    done = subprocess.run(
        ["bash", path], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert re.search(r": (KONNECT_TOKEN|CONTROL_PLANE_HOST): \w", done.stderr)


@pytest.mark.programs
def test_upload_schema_sends_the_schema_and_keeps_the_token_to_itself(tmp_path: Path) -> None:
    """With a curl that writes down what it was given."""
    fake = tmp_path / "curl"
    fake.write_text(
        "#!/usr/bin/env bash\n"
        'printf "%s\\n" "$@" >"$OUT/arguments"\n'
        "while [ $# -gt 0 ]; do\n"
        '  [[ "$1 $2" = "--header @"* ]] && cat "${2#@}" >"$OUT/token"\n'
        '  [[ "$1 $2" = "--data-binary @"* ]] && cat "${2#@}" >"$OUT/body"\n'
        "  shift\n"
        "done\n"
    )
    jq = tmp_path / "jq"  # a fresh machine has none
    jq.write_text(
        "#!/usr/bin/env python3\n"
        "import json, sys\n"
        "name, path = sys.argv[sys.argv.index('--rawfile') + 1 :][:2]\n"
        "assert sys.argv[-1] == '{%s: $%s}' % (name, name)\n"
        "print(json.dumps({name: open(path).read()}))\n"
    )
    for program in (fake, jq):
        program.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "OUT": str(tmp_path),
        "KONNECT_TOKEN": "kpat_canary",
        "CONTROL_PLANE_ID": "1234",
        "KONNECT_REGION": "eu",
    }
    script = DEPLOY / "konnect" / "upload-schema.sh"
    subprocess.run([script], env=environment, check=True, timeout=20)
    arguments = (tmp_path / "arguments").read_text()
    assert "kpat_canary" not in arguments
    assert (tmp_path / "token").read_text() == "Authorization: Bearer kpat_canary\n"
    assert (
        "https://eu.api.konghq.com/v2/control-planes/1234/core-entities/plugin-schemas/credential-validator\n"
        in arguments
    )
    schema = ROOT / "kong-plugin" / "kong" / "plugins" / "credential-validator" / "schema.lua"
    assert yaml.safe_load((tmp_path / "body").read_text()) == {"lua_schema": schema.read_text()}
