-- Law of this file: it prints a line for each of the given configurations that the plugin's schema refuses.

local schema_engine = require "schema_engine"

local schema_path, configs_path = arg[1], arg[2]

for number, config in ipairs(dofile(configs_path)) do
  local conf, errors = schema_engine.process(dofile(schema_path), config)
  if not conf then
    print("configuration " .. number .. ": " .. schema_engine.describe(errors))
  end
end
