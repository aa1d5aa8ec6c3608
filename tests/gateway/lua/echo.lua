-- Law of this file: the upstream that comes with the gateway: it tells as JSON what it was sent, every header line by
-- its own spelling. Arguments of the query: `status`, and `set_cookie`, which may be repeated.

local text = require("json").text

return function()
  local headers = {}
  local raw = ngx.req.raw_header(true)
  for name, value in raw:gmatch("([^\r\n:]+):[ \t]*([^\r\n]*)\r\n") do
    headers[#headers + 1] = "[" .. text(name) .. "," .. text(value) .. "]"
  end
  local arguments = ngx.req.get_uri_args()
  ngx.status = tonumber(arguments.status) or 200
  ngx.header["Set-Cookie"] = arguments.set_cookie
  ngx.header["Content-Type"] = "application/json"
  ngx.say('{"method":', text(ngx.req.get_method()), ',"uri":', text(ngx.var.request_uri),
    ',"credential":', text(ngx.var.http_gateway_credential or ""),
    ',"consumer":', text(ngx.var.http_gateway_consumer or ""),
    ',"headers":[', table.concat(headers, ","), "]}")
end
