#!/usr/bin/env bash
# A data plane of a Konnect control plane in Docker, with the sidecar beside it on a shared Unix socket.
# From the root of the repository, after
#   docker build -t kong-credential-validator .
#   docker build -f deploy/docker/Dockerfile -t kong-with-credential-validator \
#     --build-arg KONG_IMAGE=kong/kong-gateway:3.14 kong-plugin
#   (umask 077 && printf 'VALIDATOR__SESSION__KEYS=%s\nVALIDATOR__CONTROL__TOKEN=%s\n' \
#     "$(openssl rand -base64 32)" "$(openssl rand -hex 32)" >validator.env)
# and with what Konnect prints under "New data plane node":
#   CONTROL_PLANE_HOST=... TELEMETRY_HOST=... deploy/konnect/data-plane.sh tls.crt tls.key
# With KONG_STREAMED=1 the control plane hands the plugin out (Kong 3.15), and Kong's own image is enough.
set -euo pipefail
: "${CONTROL_PLANE_HOST:?the host of KONG_CLUSTER_CONTROL_PLANE, such as 0123456789.us.cp0.konghq.com}"
: "${TELEMETRY_HOST:?the host of KONG_CLUSTER_TELEMETRY_ENDPOINT, such as 0123456789.us.tp0.konghq.com}"
[ $# = 2 ] || { echo "usage: $0 CLUSTER_CERTIFICATE CLUSTER_KEY" >&2 && exit 2; }
for file in "$1" "$2" validator.env; do
  if [ ! -s "$file" ] || [ ! -r "$file" ]; then
    echo "$0: $file is missing, empty or cannot be read" >&2
    exit 1
  fi
done
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ -n "${KONG_STREAMED:-}" ]; then
  image=${KONG_IMAGE:-kong/kong-gateway:3.15}
  # Without lax the sandbox of streamed plugins has no network: the plugin could not ask the sidecar.
  plugins=(--env KONG_PLUGINS=bundled --env KONG_CUSTOM_PLUGIN_STREAMING_ENABLED=on --env KONG_UNTRUSTED_LUA=lax)
else
  image=${KONG_IMAGE:-kong-with-credential-validator}
  plugins=(--env "KONG_PLUGINS=bundled,credential-validator")
fi

# First: Docker gives a new volume the owner of the first container's folder, and the socket's is the sidecar's.
docker run --detach --name validator --restart unless-stopped \
  --read-only --cap-drop ALL --security-opt no-new-privileges --env-file validator.env \
  --volume validator-socket:/run/validator --volume validator-state:/var/lib/validator \
  --volume "$here/../docker/validator.yaml:/etc/validator/validator.yaml:ro" \
  --publish 127.0.0.1:8101:8101 \
  kong-credential-validator

# Into a volume that Kong's user alone can read, whatever its number is, and through standard input: the key stands in
# no list of processes and in no container's environment.
put() { # put NAME FILE
  # shellcheck disable=SC2016 # the container's shell expands it
  docker run --rm --interactive --user 0 --network none --volume kong-cluster:/cluster --entrypoint sh "$image" \
    -ec 'umask 077; cat >"/cluster/$1"; chown kong "/cluster/$1"' put "$1" <"$2"
}
put tls.crt "$1"
put tls.key "$2"

# In the socket's group.
docker run --detach --name kong --restart unless-stopped --group-add 65532 \
  --cap-drop ALL --security-opt no-new-privileges \
  --volume validator-socket:/run/validator:ro --volume kong-cluster:/cluster:ro "${plugins[@]}" \
  --env KONG_ROLE=data_plane --env KONG_DATABASE=off --env KONG_KONNECT_MODE=on --env KONG_CLUSTER_MTLS=pki \
  --env "KONG_CLUSTER_CONTROL_PLANE=$CONTROL_PLANE_HOST:443" --env "KONG_CLUSTER_SERVER_NAME=$CONTROL_PLANE_HOST" \
  --env "KONG_CLUSTER_TELEMETRY_ENDPOINT=$TELEMETRY_HOST:443" \
  --env "KONG_CLUSTER_TELEMETRY_SERVER_NAME=$TELEMETRY_HOST" \
  --env KONG_CLUSTER_CERT=/cluster/tls.crt --env KONG_CLUSTER_CERT_KEY=/cluster/tls.key \
  --env KONG_LUA_SSL_TRUSTED_CERTIFICATE=system \
  --publish 8000:8000 --publish 8443:8443 \
  "$image"
