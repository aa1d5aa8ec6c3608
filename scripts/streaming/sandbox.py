"""What Kong gives to a streamed plugin.

Law of this file: facts about Kong's sandbox (kong/tools/sandbox in its source), as far as an authentication plugin
has use for them; no decisions. A name that Kong has and that is missing here may be added.
"""

_LUA = """
_VERSION assert error ipairs next pairs pcall print select tonumber tostring type unpack xpcall
bit.band bit.bnot bit.bor bit.bxor bit.lshift bit.rshift bit.tobit bit.tohex
coroutine.create coroutine.resume coroutine.running coroutine.status coroutine.wrap coroutine.yield
math.abs math.ceil math.exp math.floor math.fmod math.huge math.log math.max math.min math.modf math.pow
math.random
os.clock os.date os.difftime os.time
string.byte string.char string.find string.format string.gmatch string.gsub string.len string.lower string.match
string.rep string.reverse string.sub string.upper
table.clear table.clone table.concat table.insert table.isarray table.isempty table.maxn table.move table.new
table.nkeys table.pack table.remove table.sort table.unpack
"""

_HANDLER = """
kong.cache.get kong.cache.get_bulk kong.cache.invalidate kong.cache.invalidate_local kong.cache.probe
kong.cache.renew kong.cache.safe_set
kong.client.authenticate kong.client.get_consumer kong.client.get_credential kong.client.get_forwarded_ip
kong.client.get_ip kong.client.load_consumer
kong.configuration kong.ctx.plugin kong.ctx.shared
kong.db.consumers.cache_key kong.db.consumers.select kong.db.consumers.select_by_cache_key
kong.db.consumers.select_by_custom_id kong.db.consumers.select_by_username
kong.log kong.log.alert kong.log.crit kong.log.debug kong.log.emerg kong.log.err kong.log.info kong.log.notice
kong.log.serialize kong.log.set_serialize_value kong.log.warn
kong.node.get_hostname kong.node.get_id kong.plugin.get_id
kong.request.get_forwarded_path kong.request.get_header kong.request.get_headers kong.request.get_host
kong.request.get_http_version kong.request.get_method kong.request.get_path kong.request.get_query
kong.request.get_raw_path kong.request.get_scheme kong.request.get_start_time
kong.response.add_header kong.response.clear_header kong.response.error kong.response.exit kong.response.get_header
kong.response.get_headers kong.response.get_source kong.response.get_status kong.response.set_header
kong.response.set_headers kong.response.set_status
kong.router.get_route kong.router.get_service
kong.service.request.add_header kong.service.request.clear_header kong.service.request.set_header
kong.service.request.set_headers
kong.service.response.get_header kong.service.response.get_headers kong.service.response.get_status
kong.tracing.create_span kong.tracing.get_sampling_decision kong.tracing.link_span kong.tracing.process_span
kong.tracing.set_active_span kong.tracing.set_should_sample kong.tracing.start_span
kong.table.clear kong.table.merge kong.telemetry.log kong.vault.get kong.vault.is_reference
kong.version kong.version_num
ngx.ALERT ngx.CRIT ngx.DEBUG ngx.ERR ngx.ERROR ngx.INFO ngx.NOTICE ngx.OK ngx.WARN ngx.null
ngx.arg ngx.ctx ngx.header ngx.headers_sent ngx.is_subrequest ngx.status ngx.var
ngx.config.debug ngx.config.nginx_version ngx.config.ngx_lua_version ngx.config.subsystem
ngx.crc32_long ngx.crc32_short ngx.decode_base64 ngx.encode_base64 ngx.escape_uri ngx.exit ngx.get_phase
ngx.hmac_sha1 ngx.http_time ngx.log ngx.md5 ngx.md5_bin ngx.now ngx.parse_http_time ngx.sha1_bin ngx.sleep ngx.time
ngx.unescape_uri ngx.update_time ngx.utctime
ngx.re.find ngx.re.gmatch ngx.re.gsub ngx.re.match ngx.re.sub
ngx.req.clear_header ngx.req.get_headers ngx.req.get_method ngx.req.http_version ngx.req.is_internal
ngx.req.raw_header ngx.req.set_header ngx.req.start_time ngx.resp.get_headers
ngx.socket.connect ngx.socket.stream ngx.socket.tcp ngx.socket.udp
ngx.thread.kill ngx.thread.spawn ngx.thread.wait
ngx.worker.count ngx.worker.exiting ngx.worker.id ngx.worker.pid
"""

LUA = frozenset(_LUA.split())
HANDLER = LUA | frozenset(_HANDLER.split())
# A schema is read with Lua's own names alone, and these two are asked for only where they are: `kong and ...`.
SCHEMA = LUA | {"kong", "kong.version_num", "ngx", "ngx.null"}

# Tables of Kong whose members the plugin may make up.
OPEN = frozenset({"kong.configuration", "kong.ctx.plugin", "kong.ctx.shared", "ngx.ctx", "ngx.header", "ngx.var"})
# What may be assigned to beside the members of these.
WRITABLE = frozenset({"ngx.status"})

_REQUIRES = """
bit cjson cjson.safe kong.concurrency kong.constants kong.meta kong.tools.rand kong.tools.sha256 kong.tools.string
kong.tools.table kong.tools.time kong.tools.uri kong.tools.uuid ngx.base64 ngx.re ngx.req ngx.resp ngx.semaphore
resty.hmac resty.http resty.lock resty.lrucache resty.random resty.sha1 resty.sha256 resty.sha384 resty.sha512
resty.string string.buffer table.clear table.clone table.isarray table.isempty table.new table.nkeys tablepool
"""
REQUIRES = frozenset(_REQUIRES.split())


def is_given(path: str, names: frozenset[str]) -> bool:
    """Whether ``path``, ``ngx.re.find`` or ``kong.cache:get``, is there, leads to what is, or is taken from it."""
    dotted = path.replace(":", ".")
    leads = any(name.startswith(dotted + ".") for name in names)
    return dotted in names or leads or any(dotted.startswith(name + ".") for name in OPEN & names)


def is_writable(path: str) -> bool:
    """Whether a plugin may assign to this member."""
    dotted = path.replace(":", ".")
    return dotted in WRITABLE or any(dotted.startswith(name + ".") for name in OPEN - {"kong.configuration"})
