-- Law of this file: a module of the plugin as if loaded for the first time, with stand-ins for what it requires. What
-- was loaded before comes back.

local PREFIX = "kong.plugins.credential-validator."

local function is_ours(name)
  return name:sub(1, #PREFIX) == PREFIX
end

local function unload()
  local kept = {}
  for name, module in pairs(package.loaded) do
    if is_ours(name) then
      kept[name] = module
    end
  end
  for name in pairs(kept) do
    package.loaded[name] = nil
  end
  return kept
end

-- `stand_ins`: by the short name of a module of the plugin, or by the whole name of another ("resty.sha256"). Returns
-- the module, and by their short names all that were loaded with it.
return function(name, stand_ins)
  local kept, foreign, loaded = unload(), {}, {}
  for short, stand_in in pairs(stand_ins or {}) do
    local long = short
    if short:find(".", 1, true) then
      foreign[short] = package.loaded[short] or false
    else
      long = PREFIX .. short
    end
    package.loaded[long] = stand_in
  end
  local done, module = pcall(require, PREFIX .. name)
  for long, found in pairs(unload()) do
    loaded[long:sub(#PREFIX + 1)] = found
  end
  for long, found in pairs(kept) do
    package.loaded[long] = found
  end
  for long, found in pairs(foreign) do
    package.loaded[long] = found or nil
  end
  if not done then
    error(module, 2)
  end
  return module, loaded
end
