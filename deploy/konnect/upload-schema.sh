#!/usr/bin/env bash
# Tells a Konnect control plane, for the first time or anew, which configuration the plugin has. The plugin's files
# are put on each data plane. Needs curl and jq.
#   KONNECT_TOKEN=... CONTROL_PLANE_ID=... [KONNECT_REGION=us] deploy/konnect/upload-schema.sh
set -euo pipefail
: "${KONNECT_TOKEN:?a personal or system access token of Konnect that may edit the control plane}"
: "${CONTROL_PLANE_ID:?the id of the control plane, which stands in the address of its page in Konnect}"
control_plane=https://${KONNECT_REGION:-us}.api.konghq.com/v2/control-planes/$CONTROL_PLANE_ID
schema=$(dirname "${BASH_SOURCE[0]}")/../../kong-plugin/kong/plugins/credential-validator/schema.lua

# The token and the body come from files, so that neither stands in the list of processes.
curl --silent --show-error --fail-with-body --max-time 30 --request PUT \
  --header @<(printf 'Authorization: Bearer %s\n' "$KONNECT_TOKEN") --header 'Content-Type: application/json' \
  --data-binary @<(jq --null-input --rawfile lua_schema "$schema" '{lua_schema: $lua_schema}') \
  "$control_plane/core-entities/plugin-schemas/credential-validator"
