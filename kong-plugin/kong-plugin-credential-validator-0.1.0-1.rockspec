package = "kong-plugin-credential-validator"
version = "0.1.0-1"
rockspec_format = "3.0"
supported_platforms = { "linux" }

-- `luarocks make` in this directory fetches nothing; whoever publishes a rock names its archive here.
source = { url = "." }

description = {
  summary = "Lets through only requests that the credential validator's sidecar has judged to be good",
  detailed = "Sends each request's Authorization and session cookie to the sidecar, tells the upstream which "
    .. "application is calling, and fails closed.",
  license = "Apache-2.0",
  labels = { "kong", "kong-plugin", "authentication" },
}

dependencies = { "lua ~> 5.1" }

build = {
  type = "builtin",
  modules = {
    ["kong.plugins.credential-validator.access"] = "kong/plugins/credential-validator/access.lua",
    ["kong.plugins.credential-validator.consumers"] = "kong/plugins/credential-validator/consumers.lua",
    ["kong.plugins.credential-validator.cookies"] = "kong/plugins/credential-validator/cookies.lua",
    ["kong.plugins.credential-validator.decisions"] = "kong/plugins/credential-validator/decisions.lua",
    ["kong.plugins.credential-validator.denial"] = "kong/plugins/credential-validator/denial.lua",
    ["kong.plugins.credential-validator.exchange"] = "kong/plugins/credential-validator/exchange.lua",
    ["kong.plugins.credential-validator.facts"] = "kong/plugins/credential-validator/facts.lua",
    ["kong.plugins.credential-validator.handler"] = "kong/plugins/credential-validator/handler.lua",
    ["kong.plugins.credential-validator.health"] = "kong/plugins/credential-validator/health.lua",
    ["kong.plugins.credential-validator.identity"] = "kong/plugins/credential-validator/identity.lua",
    ["kong.plugins.credential-validator.lines"] = "kong/plugins/credential-validator/lines.lua",
    ["kong.plugins.credential-validator.memo"] = "kong/plugins/credential-validator/memo.lua",
    ["kong.plugins.credential-validator.received"] = "kong/plugins/credential-validator/received.lua",
    ["kong.plugins.credential-validator.reply"] = "kong/plugins/credential-validator/reply.lua",
    ["kong.plugins.credential-validator.request"] = "kong/plugins/credential-validator/request.lua",
    ["kong.plugins.credential-validator.schema"] = "kong/plugins/credential-validator/schema.lua",
    ["kong.plugins.credential-validator.session"] = "kong/plugins/credential-validator/session.lua",
    ["kong.plugins.credential-validator.settings"] = "kong/plugins/credential-validator/settings.lua",
    ["kong.plugins.credential-validator.sidecar"] = "kong/plugins/credential-validator/sidecar.lua",
    ["kong.plugins.credential-validator.target"] = "kong/plugins/credential-validator/target.lua",
    ["kong.plugins.credential-validator.tls"] = "kong/plugins/credential-validator/tls.lua",
    ["kong.plugins.credential-validator.tracing"] = "kong/plugins/credential-validator/tracing.lua",
  },
}
