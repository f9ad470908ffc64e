// An identity provider and OAuth server: oidc-provider with users, clients, counters and faults for tests.
//
//   node idp.mjs [--port 0] [--clients clients.json] [--access-token-ttl 3600] [--client-credentials-ttl 600]
//
// Prints one line of JSON when it serves: {issuer, port, users, token_endpoint, jwks_uri, login_grant, client_id}.
// The packages come from $SALLYPORT_NODE_MODULES, else from where `cargo xtask setup` puts them.
//
// A user's access token without a browser: POST /token with grant_type=<login_grant>, client_id=agent, login, password,
// resource=<audience>, and if wanted scope, alg (RS256, ES256, EdDSA) and ttl (seconds).
//
// Clients with redirect URIs get people's tokens by authorization code with PKCE, through the pages of idp_pages.mjs; a refresh
// token works once, and its second use revokes the grant.
//
// Loopback only, for tests: everything under /control/, see `control` below.
import { generateKeyPairSync, randomUUID, timingSafeEqual } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'

import { MapAdapter } from './idp_adapter.mjs'
import { interactions } from './idp_pages.mjs'

// The first line of standard output is ours: warnings of the package go to standard error.
console.info = console.error
console.log = console.error

const modules = process.env.SALLYPORT_NODE_MODULES
  ? `${pathToFileURL(process.env.SALLYPORT_NODE_MODULES).href}/`
  : new URL('../../target/setup/node/node_modules/', import.meta.url).href
const { default: Provider, errors } = await import(new URL('oidc-provider/lib/index.js', modules).href)

const { values: options } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    clients: { type: 'string' },
    'access-token-ttl': { type: 'string', default: '3600' },
    'client-credentials-ttl': { type: 'string', default: '600' },
  },
})

const LOGIN_GRANT = 'urn:sallyport:test:login'
const SCOPES = 'mcp:tools mcp:admin'
const USERS = [
  { id: 'u-1001', login: 'alice', password: 'alice-password', email: 'alice@example.com', name: 'Alice', teams: ['engineering'] },
  { id: 'u-1002', login: 'bob', password: 'bob-password', email: 'bob@example.com', name: 'Bob', teams: ['support'] },
  { id: 'u-1003', login: 'mallory', password: 'mallory-password', email: 'alice@example.com', verified: false, name: 'Mallory', teams: [] },
]

const ttl = {
  access_token: Number(options['access-token-ttl']),
  client_credentials: Number(options['client-credentials-ttl']),
}
let faults = {}
/** Of each code that was redeemed: what came with it, and what it was answered with. */
let exchanges = []
let counters
function reset() {
  counters = { grants_revoked: 0, token_requests: 0, token_requests_by_client: {}, tokens_issued: 0, tokens_issued_by_client: {}, jwks_requests: 0, discovery_requests: 0 }
}
reset()

function keys() {
  const pairs = [
    ['RS256', 'rsa', { modulusLength: 2048 }],
    ['ES256', 'ec', { namedCurve: 'P-256' }],
    ['EdDSA', 'ed25519', {}],
  ]
  return pairs.map(([alg, type, parameters]) => ({
    ...generateKeyPairSync(type, parameters).privateKey.export({ format: 'jwk' }),
    kid: `${alg.toLowerCase()}-${randomUUID().slice(0, 8)}`,
    alg,
    use: 'sig',
  }))
}

function authenticate(login, password) {
  const user = USERS.find((candidate) => candidate.login === login)
  const given = Buffer.from(String(password))
  const expected = Buffer.from(user?.password ?? '')
  return user && given.length === expected.length && timingSafeEqual(given, expected) ? user : undefined
}

const CLIENTS = [
  {
    client_id: 'agent',
    client_name: 'Agent',
    application_type: 'native',
    token_endpoint_auth_method: 'none',
    redirect_uris: ['http://127.0.0.1/callback'],
    grant_types: ['authorization_code', 'refresh_token', LOGIN_GRANT],
  },
  ...(options.clients ? JSON.parse(readFileSync(options.clients, 'utf8')) : []),
]

/** A client with redirect URIs asks for people's tokens, one without for tokens of its own, unless its metadata says more. */
function client(metadata) {
  const usual = metadata.redirect_uris
    ? { grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'] }
    : { grant_types: ['client_credentials'], response_types: [], redirect_uris: [] }
  return { ...usual, ...metadata }
}

/** What a token is for when nobody says: whatever has our scopes, else only the endpoints of this provider. */
function defaultResource(ctx, issuer) {
  const { grant_type: grant, scope = '' } = ctx.oidc?.params ?? {}
  const ours = scope.split(' ').some((one) => SCOPES.split(' ').includes(one))
  return grant === 'client_credentials' || ours ? `${issuer}/resource` : undefined
}

function resourceServer(ctx, resource) {
  const { alg = 'RS256', ttl: asked, grant_type: grant } = ctx.oidc?.params ?? {}
  const usual = grant === 'client_credentials' ? ttl.client_credentials : ttl.access_token
  return {
    audience: resource,
    scope: SCOPES,
    accessTokenFormat: 'jwt',
    accessTokenTTL: asked ? Number(asked) : usual,
    jwt: { sign: { alg } },
  }
}

function provider(issuer, jwks, adapter) {
  const instance = new Provider(issuer, {
    adapter,
    clients: CLIENTS.map(client),
    jwks: { keys: jwks },
    cookies: { keys: [randomUUID()] },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'teams'] },
    scopes: ['openid', 'offline_access', 'email', 'profile', ...SCOPES.split(' ')],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      introspection: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: (ctx, _client, oneOf) => oneOf?.[0] ?? defaultResource(ctx, issuer),
        getResourceServerInfo: resourceServer,
        useGrantedResource: () => true,
      },
      revocation: { enabled: true },
    },
    pkce: { required: () => true },
    // Each refresh token works once; a second use revokes the grant.
    issueRefreshToken: (_ctx, asking) => asking.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: true,
    // Who signs in with an ID token is known by more than `sub`.
    conformIdTokenClaims: false,
    // The gate reads the caller's e-mail and teams from the access token.
    extraTokenClaims: (_ctx, token) => {
      const user = USERS.find(({ id }) => id === token.accountId)
      return user && { email: user.email, email_verified: user.verified ?? true, teams: user.teams }
    },
    findAccount: (_ctx, id) => {
      const user = USERS.find((candidate) => candidate.id === id)
      return user && {
        accountId: id,
        claims: () => ({ sub: id, email: user.email, email_verified: user.verified ?? true, name: user.name, teams: user.teams }),
      }
    },
    interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    renderError: (ctx, out) => { ctx.type = 'json'; ctx.body = out },
  })
  instance.registerGrantType(LOGIN_GRANT, async (ctx) => {
    const { login, password, resource, scope, alg = 'RS256' } = ctx.oidc.params
    const user = authenticate(login, password)
    if (!user) throw new errors.InvalidGrant('wrong login or password')
    if (!resource) throw new errors.InvalidTarget('resource is missing')
    if (!['RS256', 'ES256', 'EdDSA'].includes(alg)) throw new errors.InvalidRequest('alg is not one of RS256, ES256, EdDSA')
    const token = new instance.AccessToken({ client: ctx.oidc.client, accountId: user.id, gty: 'login', scope: scope ?? 'mcp:tools' })
    token.resourceServer = new instance.ResourceServer(resource, resourceServer(ctx, resource))
    ctx.oidc.entity('AccessToken', token)
    ctx.body = { access_token: await token.save(), token_type: 'Bearer', expires_in: token.expiration, scope: token.scope }
  }, ['login', 'password', 'resource', 'scope', 'alg', 'ttl'])
  instance.on('grant.revoked', () => { counters.grants_revoked += 1 })
  instance.use(async (ctx, next) => {
    await next()
    const id = ctx.oidc?.client?.clientId
    if (ctx.path !== '/token' || !id) return
    counters.token_requests_by_client[id] = (counters.token_requests_by_client[id] ?? 0) + 1
    if (ctx.status === 200 && ctx.oidc.params.code) {
      exchanges.push({ code: ctx.oidc.params.code, code_verifier: ctx.oidc.params.code_verifier, ...ctx.body })
    }
    if (ctx.status === 200) {
      counters.tokens_issued += 1
      counters.tokens_issued_by_client[id] = (counters.tokens_issued_by_client[id] ?? 0) + 1
    }
  })
  return instance
}

async function body(request) {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  return chunks.length ? JSON.parse(Buffer.concat(chunks)) : {}
}

/**
 * GET counters; POST reset; POST ttl {access_token?, client_credentials?} in seconds; POST clients {client_id, client_secret, …};
 * POST rotate {keep_old?: bool} for new keys; POST faults {token?, jwks?, discovery?: {delay_ms?, status?, body?, headers?, hang?, times?}}.
 */
const control = {
  'GET counters': () => counters,
  'GET exchanges': () => exchanges,
  'POST reset': () => { reset(); faults = {}; exchanges = []; return counters },
  'POST ttl': (asked) => Object.assign(ttl, asked),
  'POST faults': (asked) => { faults = asked; return faults },
  'POST clients': async (metadata) => {
    await new server.adapter('Client').upsert(metadata.client_id, client(metadata))
    return { client_id: metadata.client_id }
  },
  'POST rotate': ({ keep_old: keep = false }) => {
    server.jwks = keep ? [...keys(), ...server.jwks] : keys()
    server.serve()
    return { kids: server.jwks.map(({ kid }) => kid) }
  },
}

/** Answers in the provider's place when a fault is set for this endpoint; true when it did. */
async function fault(kind, response) {
  const set = faults[kind]
  if (!set || set.times === 0) return false
  if (set.times) set.times -= 1
  if (set.delay_ms) await new Promise((resolve) => { setTimeout(resolve, set.delay_ms) })
  if (set.hang) return true
  if (!set.status) return false
  response.writeHead(set.status, { 'content-type': 'application/json', ...set.headers })
  response.end(typeof set.body === 'string' ? set.body : JSON.stringify(set.body ?? { error: 'server_error' }))
  return true
}

const server = {
  adapter: MapAdapter(),
  jwks: keys(),
  serve() {
    const instance = provider(this.issuer, this.jwks, this.adapter)
    this.callback = instance.callback()
    this.interactions = interactions(instance, authenticate)
  },
}

const http = createServer(async (request, response) => {
  const { pathname } = new URL(request.url, 'http://localhost')
  try {
    if (pathname.startsWith('/control/')) {
      const action = control[`${request.method} ${pathname.slice('/control/'.length)}`]
      const answer = action ? await action(request.method === 'POST' ? await body(request) : {}) : undefined
      response.writeHead(action ? 200 : 404, { 'content-type': 'application/json' }).end(JSON.stringify(answer ?? {}))
      return
    }
    if (pathname === '/token') {
      counters.token_requests += 1
      if (await fault('token', response)) return
    } else if (pathname === '/jwks') {
      counters.jwks_requests += 1
      if (await fault('jwks', response)) return
    } else if (pathname === '/.well-known/openid-configuration') {
      counters.discovery_requests += 1
      if (await fault('discovery', response)) return
    }
    if (await server.interactions(request, response, pathname)) return
    server.callback(request, response)
  } catch (error) {
    process.stderr.write(`${error.stack}\n`)
    if (!response.headersSent) response.writeHead(500)
    response.end()
  }
})

http.on('error', (error) => {
  process.stderr.write(`cannot listen on 127.0.0.1:${options.port}: ${error.code}\n`)
  process.exit(1)
})
// Longer than anybody keeps an idle connection: a request on one that is just being closed would never be answered.
http.keepAliveTimeout = 75_000
http.listen(Number(options.port), '127.0.0.1', () => {
  const { port } = http.address()
  server.issuer = `http://127.0.0.1:${port}`
  server.serve()
  const users = USERS.map(({ id, login, password, email }) => ({ id, login, password, email }))
  process.stdout.write(`${JSON.stringify({
    issuer: server.issuer,
    port,
    users,
    token_endpoint: `${server.issuer}/token`,
    jwks_uri: `${server.issuer}/jwks`,
    login_grant: LOGIN_GRANT,
    client_id: 'agent',
  })}\n`)
})
