"""The files of the install pages: each can be applied as it stands, but for what is marked as the reader's own."""

import re
from pathlib import Path

import pytest
from deploy_support import DEPLOY, ROOT, documents, named, own_files, plugin_configs, refused_configs

from validator.settings import SettingsError, read

YAML_FILES = own_files(".yaml")
SIDECARS = [path for path in YAML_FILES if path.name == "validator.yaml"]
# Values that nobody's installation has as they are.
PLACEHOLDER = re.compile(r"example\.com|\.internal\b|image: kong-credential-validator|client_id: orders-mobile")
# What validator.env of docs/kong.md holds.
ENVIRONMENT = {"VALIDATOR__SESSION__KEYS": "A" * 43, "VALIDATOR__CONTROL__TOKEN": "t" * 32}


@pytest.mark.parametrize("path", named(YAML_FILES))
def test_it_is_yaml(path: Path) -> None:
    assert all(documents(path))


@pytest.mark.parametrize("path", named(YAML_FILES))
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


@pytest.mark.parametrize("path", named(SIDECARS))
def test_the_sidecar_takes_its_configuration(path: Path, tmp_path: Path) -> None:
    (tmp_path / "control-token").write_text("t" * 32)
    (tmp_path / "session-keys").write_text("A" * 43)
    for secret in tmp_path.iterdir():
        secret.chmod(0o600)
    config = tmp_path / "validator.yaml"
    config.write_text(path.read_text().replace("/run/secrets/validator", str(tmp_path)))
    try:
        read(config, environ=ENVIRONMENT if "keys_file" not in path.read_text() else {})
    except SettingsError as error:
        pytest.fail(str(error))


def test_the_plugin_looks_for_the_socket_where_the_sidecar_has_it() -> None:
    listening = {documents(path)[0]["listen"]["data"] for path in SIDECARS}
    asked = {config["validator_url"] for path in YAML_FILES for config in plugin_configs(documents(path))}
    assert listening == asked == {"unix:/run/validator/data.sock"}


def test_strategies_and_services_of_the_plugin_are_the_sidecar_s() -> None:
    services = {service["name"] for path in YAML_FILES for service in documents(path)[0].get("services", [])}
    services |= {
        config["service"]
        for path in YAML_FILES
        for config in plugin_configs(documents(path))
        if "service" in config
    }
    assert services == {"orders", "catalog"}
    for path in SIDECARS:
        (sidecar,) = documents(path)
        known = {config["strategy"] for other in YAML_FILES for config in plugin_configs(documents(other))}
        assert known <= set(sidecar["strategies"])
        assert services <= set(sidecar["applications"][0]["registrations"])


def test_the_control_plane_can_be_reached_from_outside_the_container() -> None:
    assert {documents(path)[0]["listen"]["control"] for path in SIDECARS} == {"0.0.0.0:8101"}


def test_kong_runs_as_the_image_s_own_user_whatever_its_number() -> None:
    lines = (DEPLOY / "docker" / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER")] == ["USER kong"]


@pytest.mark.parametrize("path", named([*own_files(".yaml", ".sh"), DEPLOY / "README.md"]))
def test_no_command_deletes_what_is_not_in_the_file(path: Path) -> None:
    """``deck gateway sync`` without ``select_tags`` empties the rest of a control plane."""
    commands = [line for line in path.read_text().splitlines() if "`deck gateway sync`" not in line]
    assert "deck gateway sync" not in "\n".join(commands)


def test_the_images_are_the_same_everywhere() -> None:
    texts = [path.read_text() for path in (DEPLOY / "docker" / "Dockerfile", *own_files(".sh"))]
    texts.append((ROOT / "docs" / "kong.md").read_text())
    bases = {found for text in texts for found in re.findall(r"KONG_IMAGE=(kong/kong-gateway:[\d.]+)", text)}
    assert bases == {"kong/kong-gateway:3.14"}
