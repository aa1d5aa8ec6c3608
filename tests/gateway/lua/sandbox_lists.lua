-- Law of this file: the names that exist for a handler and a schema that Kong streams, and no others.

local _M = {}

-- By what they are members of; those of a schema, and the beginning of those of a handler.
_M.schema = {
  [""] = "_VERSION assert error ipairs next pairs pcall print select tonumber tostring type unpack xpcall",
  ["bit"] = "arshift band bnot bor bswap bxor lshift rol ror rshift tobit tohex",
  ["coroutine"] = "create resume running status wrap yield",
  ["io"] = "type",
  ["jit"] = "arch os version version_num",
  ["math"] = [[
    abs acos asin atan atan2 ceil cos cosh deg exp floor fmod frexp huge ldexp log log10 max min modf pi pow rad
    random sin sinh sqrt tan tanh
  ]],
  ["os"] = "clock date difftime time",
  ["string"] = "byte char find format gmatch gsub len lower match rep reverse sub upper",
  ["table"] = [[
    clear clone concat foreach foreachi getn insert isarray isempty maxn move new nkeys pack remove sort unpack
  ]],
}

_M.handler = {
  ["kong"] = "default_workspace version version_num",
  ["kong.cache"] = "get get_bulk invalidate invalidate_local probe renew safe_set",
  ["kong.client"] = [[
    authenticate authenticate_consumer_group_by_consumer_id get_consumer get_consumer_group get_consumer_groups
    get_credential get_forwarded_ip get_forwarded_port get_ip get_port get_protocol load_consumer
    set_authenticated_consumer_group set_authenticated_consumer_groups
  ]],
  ["kong.client.tls"] = [[
    disable_session_reuse get_full_client_certificate_chain request_client_certificate set_client_verify
  ]],
  ["kong.cluster"] = "get_id",
  ["kong.db.certificates"] = "cache_key select select_by_cache_key",
  ["kong.db.consumers"] = [[
    cache_key select select_by_cache_key select_by_custom_id select_by_username select_by_username_ignore_case
  ]],
  ["kong.db.keys"] = "cache_key select select_by_cache_key select_by_name",
  ["kong.db.plugins"] = "cache_key select select_by_cache_key select_by_instance_name",
  ["kong.db.routes"] = "cache_key select select_by_cache_key select_by_name",
  ["kong.db.services"] = "cache_key select select_by_cache_key select_by_name",
  ["kong.db.snis"] = "cache_key select select_by_cache_key select_by_name",
  ["kong.db.targets"] = "cache_key select select_by_cache_key select_by_target",
  ["kong.db.upstreams"] = "cache_key select select_by_cache_key select_by_name",
  ["kong.dns"] = "resolve toip",
  ["kong.ip"] = "is_trusted",
  ["kong.jwe"] = "decode decrypt encrypt",
  ["kong.log"] = "alert crit debug emerg err info notice serialize set_serialize_value warn",
  ["kong.log.deprecation"] = "write",
  ["kong.log.inspect"] = "off on",
  ["kong.nginx"] = "get_statistics get_subsystem",
  ["kong.node"] = "get_hostname get_id get_memory_stats",
  ["kong.plugin"] = "get_id",
  ["kong.request"] = [[
    get_body get_forwarded_host get_forwarded_path get_forwarded_port get_forwarded_prefix get_forwarded_scheme
    get_header get_headers get_host get_http_version get_method get_path get_path_with_query get_port get_query
    get_query_arg get_raw_body get_raw_path get_raw_query get_scheme get_start_time get_uri_captures
  ]],
  ["kong.response"] = [[
    add_header clear_header error exit get_header get_headers get_raw_body get_source get_status set_header
    set_headers set_raw_body set_status
  ]],
  ["kong.router"] = "get_route get_service",
  ["kong.service"] = [[
    set_retries set_target set_target_retry_callback set_timeouts set_tls_cert_key set_tls_verify
    set_tls_verify_depth set_tls_verify_store set_upstream
  ]],
  ["kong.service.request"] = [[
    add_header clear_header clear_query_arg enable_buffering set_body set_header set_headers set_method set_path
    set_query set_raw_body set_raw_query set_scheme
  ]],
  ["kong.service.response"] = "get_body get_header get_headers get_raw_body get_status",
  ["kong.table"] = "clear merge",
  ["kong.telemetry"] = "log",
  ["kong.tracing"] = [[
    create_span get_sampling_decision link_span process_span set_active_span set_should_sample start_span
  ]],
  ["kong.vault"] = "get is_reference parse_reference try update",
  ["kong.websocket.client"] = "close drop_frame get_frame set_frame_data set_max_payload_size set_status",
  ["kong.websocket.upstream"] = "close drop_frame get_frame set_frame_data set_max_payload_size set_status",
  ["ngx"] = [[
    AGAIN ALERT cookie_time crc32_long crc32_short CRIT DEBUG DECLINED decode_args decode_base64 DONE EMERG
    encode_args encode_base64 eof ERR ERROR escape_uri exit flush get_phase get_raw_phase hmac_sha1
    HTTP_ACCEPTED HTTP_BAD_GATEWAY HTTP_BAD_REQUEST HTTP_CLOSE HTTP_CONFLICT HTTP_CONTINUE HTTP_COPY
    HTTP_CREATED HTTP_DELETE HTTP_FORBIDDEN HTTP_GATEWAY_TIMEOUT HTTP_GET HTTP_GONE HTTP_HEAD HTTP_ILLEGAL
    HTTP_INSUFFICIENT_STORAGE HTTP_INTERNAL_SERVER_ERROR HTTP_LOCK HTTP_METHOD_NOT_IMPLEMENTED HTTP_MKCOL
    HTTP_MOVE HTTP_MOVED_PERMANENTLY HTTP_MOVED_TEMPORARILY HTTP_NO_CONTENT HTTP_NOT_ACCEPTABLE HTTP_NOT_ALLOWED
    HTTP_NOT_FOUND HTTP_NOT_IMPLEMENTED HTTP_NOT_MODIFIED HTTP_OK HTTP_OPTIONS HTTP_PARTIAL_CONTENT HTTP_PATCH
    HTTP_PAYMENT_REQUIRED HTTP_PERMANENT_REDIRECT HTTP_POST HTTP_PROPFIND HTTP_PROPPATCH HTTP_PUT
    HTTP_REQUEST_TIMEOUT HTTP_SEE_OTHER HTTP_SERVICE_UNAVAILABLE HTTP_SPECIAL_RESPONSE HTTP_SWITCHING_PROTOCOLS
    HTTP_TEMPORARY_REDIRECT http_time HTTP_TOO_MANY_REQUESTS HTTP_TRACE HTTP_UNAUTHORIZED HTTP_UNLOCK
    HTTP_UPGRADE_REQUIRED HTTP_VERSION_NOT_SUPPORTED INFO localtime log md5 md5_bin NOTICE now null OK
    parse_http_time print quote_sql_str redirect say send_headers sha1_bin sleep STDERR time today unescape_uri
    update_time utctime WARN
  ]],
  ["ngx.config"] = "debug nginx_version ngx_lua_version subsystem",
  ["ngx.location"] = "capture capture_multi",
  ["ngx.re"] = "find gmatch gsub match sub",
  ["ngx.req"] = [[
    append_body clear_header discard_body finish_body get_body_data get_body_file get_headers get_method
    get_post_args get_uri_args http_version init_body is_internal raw_header read_body set_body_data
    set_body_file set_header set_method set_uri set_uri_args socket start_time
  ]],
  ["ngx.resp"] = "get_headers",
  ["ngx.socket"] = "connect stream tcp udp",
  ["ngx.thread"] = "kill spawn wait",
  ["ngx.worker"] = "count exiting id pid pids",
}
for parent, names in pairs(_M.schema) do
  _M.handler[parent] = names
end

-- Modules, of which those for the clouds and of Kong Enterprise are left out.
local LUA_MODULES = "bit string.buffer table.clear table.clone table.isarray table.isempty table.new table.nkeys "

_M.modules = {
  schema = LUA_MODULES .. "kong.db.schema.typedefs kong.tools.redis.schema",
  handler = LUA_MODULES .. [[
  argon2 bcrypt cjson cjson.safe kong.concurrency kong.constants kong.meta kong.tools.cjson kong.tools.gzip
  kong.tools.ip kong.tools.mime_type kong.tools.rand kong.tools.sha256 kong.tools.string kong.tools.table
  kong.tools.time kong.tools.timestamp kong.tools.uri kong.tools.uuid kong.tools.yield lyaml ngx.base64 ngx.re
  ngx.req ngx.resp ngx.semaphore pgmoon pgmoon.arrays pgmoon.hstore pl.stringx pl.tablex resty.ada
  resty.ada.search resty.aes resty.cookie resty.core.time resty.dns.resolver resty.evp resty.hmac resty.http
  resty.http_connect resty.http_headers resty.ipmatcher resty.jit-uuid resty.jq resty.jwt resty.jwt-validators
  resty.lock resty.lrucache resty.lrucache.pureffi resty.md5 resty.memcached resty.mysql resty.openssl
  resty.openssl.asn1 resty.openssl.bn resty.openssl.cipher resty.openssl.ctx resty.openssl.dh
  resty.openssl.digest resty.openssl.ec resty.openssl.ecx resty.openssl.err resty.openssl.hmac resty.openssl.kdf
  resty.openssl.mac resty.openssl.objects resty.openssl.param resty.openssl.pkcs12 resty.openssl.pkey
  resty.openssl.provider resty.openssl.rand resty.openssl.rsa resty.openssl.ssl resty.openssl.ssl_ctx
  resty.openssl.ssl_ctx resty.openssl.stack resty.openssl.version resty.openssl.x509 resty.openssl.x509.altname
  resty.openssl.x509.chain resty.openssl.x509.crl resty.openssl.x509.csr resty.openssl.x509.extension
  resty.openssl.x509.extension.dist_points resty.openssl.x509.extension.info_access resty.openssl.x509.name
  resty.openssl.x509.revoked resty.openssl.x509.store resty.passwdqc resty.random resty.redis resty.rediscluster
  resty.session resty.sha resty.sha1 resty.sha224 resty.sha256 resty.sha384 resty.sha512 resty.string
  resty.upload resty.xmodem socket.url tablepool version xmlua
]],
}

return _M
