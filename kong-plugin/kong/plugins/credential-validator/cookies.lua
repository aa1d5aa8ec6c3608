-- Law of this file: reading and cutting the Cookie header (RFC 6265 section 4.2.1); pure, without ngx and kong.

local concat = table.concat
local gmatch, match = string.gmatch, string.match

local _M = {}

-- Calls `each(pair, is_named)` for every non-empty pair of the header, in order.
local function walk(header, name, each)
  for piece in gmatch(header, "[^;]+") do
    local pair = match(piece, "^[ \t]*(.-)[ \t]*$")
    if pair ~= "" then
      -- A pair without "=" is a nameless cookie, whatever it reads.
      each(pair, match(pair, "^(.-)[ \t]*=") == name)
    end
  end
end

-- The pairs of that name, joined as in a Cookie header, or nil.
function _M.pick(header, name)
  local kept = {}
  walk(header, name, function(pair, is_named)
    if is_named then
      kept[#kept + 1] = pair
    end
  end)
  return kept[1] and concat(kept, "; ") or nil
end

-- The header without the pairs of that name, or nil when nothing is left.
function _M.without(header, name)
  local kept = {}
  walk(header, name, function(pair, is_named)
    if not is_named then
      kept[#kept + 1] = pair
    end
  end)
  return kept[1] and concat(kept, "; ") or nil
end

return _M
