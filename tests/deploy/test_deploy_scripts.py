"""The scripts of the install pages: what they ask for, what they run, and where secrets do not stand."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from deploy_support import DEPLOY, ROOT, documents, named, own_files

pytestmark = pytest.mark.programs
DATA_PLANE = DEPLOY / "konnect" / "data-plane.sh"
KEY = "-----BEGIN PRIVATE KEY----- canary"


@pytest.mark.parametrize("path", named(own_files(".sh")))
def test_a_script_without_its_settings_says_what_it_needs(path: Path) -> None:
    done = subprocess.run(
        ["bash", path], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert re.search(r": (KONNECT_TOKEN|CONTROL_PLANE_HOST): \w", done.stderr)


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


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def data_plane(directory: Path, *files: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The script with a docker that writes down its arguments, its environment and what it reads."""
    program(
        directory / "docker",
        "#!/usr/bin/env bash\n"
        'printf "%s\\n" "$*" >>"$OUT/arguments"\n'
        'env >>"$OUT/environment"\n'
        'case "$*" in *--interactive*) cat >>"$OUT/read" ;; esac\n',
    )
    (directory / "validator.env").write_text("VALIDATOR__CONTROL__TOKEN=t\n")
    (directory / "tls.crt").write_text("certificate\n")
    (directory / "tls.key").write_text(KEY + "\n")
    return subprocess.run(
        ["bash", DATA_PLANE, *files],
        cwd=directory,
        env={
            "PATH": f"{directory}:/usr/bin:/bin",
            "OUT": str(directory),
            "CONTROL_PLANE_HOST": "cp.example.com",
            "TELEMETRY_HOST": "tp.example.com",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


def test_a_data_plane_gets_its_key_through_standard_input_alone(tmp_path: Path) -> None:
    done = data_plane(tmp_path, "tls.crt", "tls.key")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "read").read_text() == f"certificate\n{KEY}\n"
    assert "canary" not in (tmp_path / "arguments").read_text() + (tmp_path / "environment").read_text()
    assert "--env KONG_CLUSTER_CERT_KEY=/cluster/tls.key " in (tmp_path / "arguments").read_text()


def test_a_data_plane_starts_the_sidecar_first_and_both_confined(tmp_path: Path) -> None:
    data_plane(tmp_path, "tls.crt", "tls.key")
    sidecar, _, _, kong = (tmp_path / "arguments").read_text().splitlines()
    assert sidecar.endswith(" kong-credential-validator")
    assert kong.endswith(" kong-with-credential-validator")
    for run in (sidecar, kong):
        assert " --cap-drop ALL --security-opt no-new-privileges " in run
    assert " --group-add 65532 " in kong
    assert "KONG_PLUGINS=bundled,credential-validator" in kong
    assert "KONG_UNTRUSTED_LUA" not in kong
    (config,) = documents(DEPLOY / "docker" / "validator.yaml")
    port = config["listen"]["control"].rpartition(":")[2]
    assert f" --publish 127.0.0.1:{port}:{port} " in sidecar


def test_a_data_plane_that_is_streamed_to_gives_the_plugin_a_network(tmp_path: Path) -> None:
    data_plane(tmp_path, "tls.crt", "tls.key", KONG_STREAMED="1")
    kong = (tmp_path / "arguments").read_text().splitlines()[-1]
    assert kong.endswith(" kong/kong-gateway:3.15")
    assert "--env KONG_CUSTOM_PLUGIN_STREAMING_ENABLED=on --env KONG_UNTRUSTED_LUA=lax " in kong
    assert "--env KONG_PLUGINS=bundled " in kong


@pytest.mark.parametrize("missing", [("no.crt", "tls.key"), ("tls.crt", "no.key")])
def test_a_data_plane_starts_nothing_without_its_files(tmp_path: Path, missing: tuple[str, str]) -> None:
    done = data_plane(tmp_path, *missing)
    assert done.returncode == 1
    assert re.search(r": no\.(crt|key) is missing, empty or cannot be read$", done.stderr.strip())
    assert not (tmp_path / "arguments").exists()
