-- Law of this file: reading and cutting the Cookie header (RFC 6265 section 4.2.1); pure, without ngx and kong.

local concat = table.concat
local find, gmatch, match, sub = string.find, string.gmatch, string.match, string.sub

local _M = {}

-- Without blanks at its ends, or nil where nothing is left. In two steps, since any one pattern for both ends takes
-- seconds over a header full of blanks.
local function trimmed(text)
  local from = find(text, "[^ \t]")
  return from and match(text, "^.*[^ \t]", from)
end

-- Calls `each(pair, is_named)` for every non-empty pair of the header, in order.
local function walk(header, name, each)
  for piece in gmatch(header, "[^;]+") do
    local pair = trimmed(piece)
    if pair then
      -- A pair without "=" is a nameless cookie, whatever it reads.
      local equals = find(pair, "=", 1, true)
      each(pair, equals ~= nil and trimmed(sub(pair, 1, equals - 1)) == name)
    end
  end
end

-- The pairs of that name, joined as in a Cookie header, or nil.
function _M.pick(header, name)
  if not find(header, name, 1, true) then -- as in most of them
    return nil
  end
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
  if not find(header, name, 1, true) then
    return header
  end
  local kept = {}
  walk(header, name, function(pair, is_named)
    if not is_named then
      kept[#kept + 1] = pair
    end
  end)
  return kept[1] and concat(kept, "; ") or nil
end

return _M
