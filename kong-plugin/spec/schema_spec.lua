-- Promise: the schema stands alone, works from Kong 3.0 on, and tells an operator what is wrong.

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  return text
end

local PATH = "kong/plugins/credential-validator/schema.lua"

local function config_fields(schema)
  local fields = {}
  for _, entry in ipairs(schema.fields) do
    for _, candidate in ipairs(entry.config and entry.config.fields or {}) do
      local name, rules = next(candidate)
      fields[name] = rules
    end
  end
  return fields
end

describe("the schema", function()
  it("requires nothing, not even by another name", function()
    local env = setmetatable({}, { __index = { string = string, tonumber = tonumber } })
    local schema = setfenv(assert(loadfile(PATH)), env)()
    assert.equal("credential-validator", schema.name)
    assert.is_nil(read(PATH):find("require%s*[%(\"']"))
  end)

  it("uses Kong's null where there is one", function()
    local null = {}
    local env = setmetatable({}, { __index = { string = string, tonumber = tonumber, ngx = { null = null } } })
    local schema = setfenv(assert(loadfile(PATH)), env)()
    assert.equal(null, schema.fields[1].consumer.eq)
  end)

  it("has no description, which Kong below 3.4 refuses", function()
    local function walk(node)
      for key, value in pairs(node) do
        assert.are_not.equal("description", key)
        if type(value) == "table" then
          walk(value)
        end
      end
    end
    walk(dofile(PATH))
  end)

  it("has the fields of the contract with their defaults", function()
    local fields = config_fields(dofile(PATH))
    assert.is_true(fields.validator_url.required)
    assert.is_true(fields.strategy.required)
    assert.is_nil(fields.service.required)
    assert.is_nil(fields.anonymous.required)
    assert.equal("integer", fields.timeout_ms.type)
    assert.is_true(fields.hide_credentials.default)
    assert.equal("__Host-session", fields.session_cookie_name.default)
    assert.equal(0, fields.decision_cache_ttl_s.default)
    assert.same({ 0, 3600 }, fields.decision_cache_ttl_s.between)
  end)

  it("refuses what cannot be a segment or a cookie's name", function()
    local fields = config_fields(dofile(PATH))
    for _, value in ipairs { ".", "..", "a\nb", "\0" } do
      assert.is_nil((fields.strategy.custom_validator(value)))
      assert.is_nil((fields.service.custom_validator(value)))
    end
    assert.is_true(fields.strategy.custom_validator("azure v2"))
    for _, value in ipairs { "a b", "a=b", "a;b", "a\n", "ä" } do
      assert.is_nil((fields.session_cookie_name.custom_validator(value)))
    end
    assert.is_true(fields.session_cookie_name.custom_validator("__Host-session"))
  end)
end)
