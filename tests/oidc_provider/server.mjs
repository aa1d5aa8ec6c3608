// A real OpenID provider for the tests: panva's oidc-provider on loopback, with clients and resources as told.
//
// Law of this file: it configures and counts, and judges nothing itself. Standard input carries JSON lines: first
// the configuration, then commands; each is answered by one JSON line on standard output. When standard input
// ends, so does the process, so that it never outlives the test run.

import * as crypto from 'node:crypto';
import * as http from 'node:http';
import * as readline from 'node:readline';

import { createMemoryAdapter } from 'oidc-provider/lib/adapters/memory_adapter.js';

// The library speaks on standard output as well, which belongs to the answers here.
console.info = console.error;
console.log = console.error;
const { Provider, errors } = await import('oidc-provider');

const KEY_KINDS = {
  RS256: ['rsa', { modulusLength: 2048 }],
  PS256: ['rsa', { modulusLength: 2048 }],
  ES256: ['ec', { namedCurve: 'P-256' }],
  ES384: ['ec', { namedCurve: 'P-384' }],
  ES512: ['ec', { namedCurve: 'P-521' }],
  EdDSA: ['ed25519', {}],
};
const ENDPOINTS = {
  '/.well-known/openid-configuration': 'discovery',
  '/.well-known/oauth-authorization-server': 'discovery',
  '/jwks': 'jwks',
  '/token': 'token',
  '/token/introspection': 'introspection',
  '/reg': 'registration',
};

const counts = {};
let keys = []; // the first signs
let provider;
let handle;
let config;
let issuer;
let adapter; // shared by all incarnations: a rotation forgets neither a client nor a token

function newKey(alg) {
  const [type, options] = KEY_KINDS[alg];
  const jwk = crypto.generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' });
  return { ...jwk, alg, use: 'sig', kid: crypto.randomUUID() };
}

// RFC 7592 section 2.2 leaves it to the provider; this one gives another secret to whoever does not name the present one.
function rotate(ctx, properties) {
  if (ctx.method === 'PUT' && !('client_secret' in ctx.oidc.body)) {
    properties.client_secret = crypto.randomBytes(32).toString('base64url');
  }
}

function resourceServer(indicator) {
  const resource = config.resources[indicator];
  if (!resource) {
    throw new errors.InvalidTarget();
  }
  const { alg, kid } = keys[0];
  return {
    audience: resource.audience,
    scope: resource.scope,
    accessTokenTTL: resource.ttl_s,
    accessTokenFormat: resource.format,
    jwt: { sign: { alg, kid } },
  };
}

// Keys are fixed for the life of a Provider, so each change of keys makes a new one at the same issuer.
function renew() {
  const { alg } = keys[0];
  provider = new Provider(issuer, {
    adapter,
    clients: config.clients,
    clientDefaults: { id_token_signed_response_alg: alg },
    jwks: { keys },
    scopes: config.scopes,
    cookies: { keys: [crypto.randomUUID()] },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: async () => true },
      revocation: { enabled: true },
      registration: {
        enabled: true,
        initialAccessToken: config.rotates_secrets || (config.initial_access_token ?? false),
        policies: config.rotates_secrets ? { rotate } : undefined,
      },
      registrationManagement: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: async (ctx, client) => config.default_resources[client?.clientId] ?? config.default_resource,
        getResourceServerInfo: async (ctx, indicator) => resourceServer(indicator),
      },
    },
  });
  handle = provider.callback();
}

const commands = {
  rotate({ alg, retire }) {
    keys = [newKey(alg ?? keys[0].alg), ...(retire ? [] : keys)];
    renew();
    return { kid: keys[0].kid };
  },
  retire({ kid }) {
    keys = keys.filter((key, index) => index === 0 || key.kid !== kid);
    renew();
    return { kids: keys.map((key) => key.kid) };
  },
  counts() {
    return { counts };
  },
};

const server = http.createServer((request, response) => {
  const { pathname } = new URL(request.url, issuer);
  const endpoint = ENDPOINTS[pathname] ?? 'other';
  counts[endpoint] = (counts[endpoint] ?? 0) + 1;
  handle(request, response);
});

function start(told) {
  config = told;
  adapter = createMemoryAdapter();
  keys = [newKey(config.alg)];
  server.listen({ host: '127.0.0.1', port: config.port, backlog: 1024 }, async () => {
    const { port } = server.address();
    issuer = `http://127.0.0.1:${port}`;
    let token = config.initial_access_token;
    try {
      renew();
      if (config.rotates_secrets) {
        // Policies come with an initial access token, and stay with the clients that were registered by it.
        token = await new provider.InitialAccessToken({ policies: ['rotate'] }).save();
      }
    } catch (error) {
      console.error(error);
      process.exit(1);
    }
    process.stdout.write(`${JSON.stringify({ port, issuer, kid: keys[0].kid, initial_access_token: token })}\n`);
  });
}

const lines = readline.createInterface({ input: process.stdin });
lines.on('line', (line) => {
  const message = JSON.parse(line);
  if (!config) {
    start(message);
    return;
  }
  let answer;
  try {
    answer = commands[message.do](message);
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
});
lines.on('close', () => process.exit(0));
