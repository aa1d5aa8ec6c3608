#!/usr/bin/env bash
# A data plane of a Konnect control plane in Docker, with the sidecar beside it on a shared Unix socket.
# From the root of the repository, after
#   docker build -t kong-credential-validator .
#   docker build -f deploy/docker/Dockerfile -t kong-with-credential-validator \
#     --build-arg KONG_IMAGE=kong/kong-gateway:3.12 kong-plugin
#   (umask 077 && printf 'VALIDATOR__SESSION__KEYS=%s\n' "$(openssl rand -base64 32)" >validator.env)
# and with what Konnect prints under "New data plane node":
#   CONTROL_PLANE_HOST=... TELEMETRY_HOST=... deploy/konnect/data-plane.sh tls.crt tls.key
set -euo pipefail
: "${CONTROL_PLANE_HOST:?the host of KONG_CLUSTER_CONTROL_PLANE, such as 0123456789.us.cp0.konghq.com}"
: "${TELEMETRY_HOST:?the host of KONG_CLUSTER_TELEMETRY_ENDPOINT, such as 0123456789.us.tp0.konghq.com}"
[ $# = 2 ] || { echo "usage: $0 CLUSTER_CERTIFICATE CLUSTER_KEY" >&2 && exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Given by name below, so that the key does not stand in the list of processes.
KONG_CLUSTER_CERT=$(cat "$1") KONG_CLUSTER_CERT_KEY=$(cat "$2")
export KONG_CLUSTER_CERT KONG_CLUSTER_CERT_KEY

# First, since a fresh volume takes over the owner of the folder that the first container has there.
docker run --detach --name validator --restart unless-stopped \
  --read-only --cap-drop ALL --security-opt no-new-privileges --env-file validator.env \
  --volume validator-socket:/run/validator --volume validator-state:/var/lib/validator \
  --volume "$here/../docker/validator.yaml:/etc/validator/validator.yaml:ro" \
  kong-credential-validator

# In the socket's group; custom plugin streaming (Kong 3.15) works without the files in the image.
docker run --detach --name kong --restart unless-stopped --group-add 65532 \
  --volume validator-socket:/run/validator:ro \
  --env KONG_ROLE=data_plane --env KONG_DATABASE=off --env KONG_KONNECT_MODE=on --env KONG_CLUSTER_MTLS=pki \
  --env "KONG_CLUSTER_CONTROL_PLANE=$CONTROL_PLANE_HOST:443" --env "KONG_CLUSTER_SERVER_NAME=$CONTROL_PLANE_HOST" \
  --env "KONG_CLUSTER_TELEMETRY_ENDPOINT=$TELEMETRY_HOST:443" \
  --env "KONG_CLUSTER_TELEMETRY_SERVER_NAME=$TELEMETRY_HOST" \
  --env KONG_CLUSTER_CERT --env KONG_CLUSTER_CERT_KEY --env KONG_LUA_SSL_TRUSTED_CERTIFICATE=system \
  --publish 8000:8000 --publish 8443:8443 \
  "${KONG_IMAGE:-kong-with-credential-validator}"
