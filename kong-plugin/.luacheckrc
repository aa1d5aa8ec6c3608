std = "luajit"
max_line_length = 120
max_cyclomatic_complexity = 14
files["kong/plugins/credential-validator/"] = {
  read_globals = { ngx = { other_fields = true, fields = { ctx = { other_fields = true, read_only = false } } }, kong = { other_fields = true, fields = { ctx = { other_fields = true, read_only = false } } } },
}
-- Pure: what they decide must not depend on a request.
for _, name in ipairs { "cookies", "health", "lines", "memo", "reply", "target" } do
  files["kong/plugins/credential-validator/" .. name .. ".lua"] = { not_globals = { "kong", "ngx" } }
end
files["spec/"] = { std = "+busted" }
files["../tests/gateway/lua/"] = { globals = { "kong", "ngx" } }
