// An application whose users are not people of the gateway's company, and which confirms who they are.
//
// It shows the three things that such an application does: it signs its users in (here by a form that believes
// everything), it issues tokens that their agents call the gateway with, and it confirms to the gateway, with such a
// token, who is at the browser that the gateway sends here. Node's standard library only. For demonstration.

import { createServer } from 'node:http';
import { generateKeyPairSync, randomBytes, sign, timingSafeEqual } from 'node:crypto';

const port = Number(process.env.PORT ?? 4100);
const origin = `http://127.0.0.1:${port}`;
// The gateway's `public_url`. It is the audience of the tokens too: list it under this issuer's `audiences`.
const gate = process.env.GATE ?? 'http://127.0.0.1:10000';

// A new key at each start: nothing that was issued before is good any more.
const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const kid = randomBytes(8).toString('hex');

/** Signed-in browsers: secret of the cookie to { user, csrf }. */
const sessions = new Map();

/** An access token (RFC 9068) for a user, good for five minutes. */
function tokenFor(user) {
  const now = Math.floor(Date.now() / 1000);
  const header = { alg: 'ES256', typ: 'at+jwt', kid };
  const claims = { iss: origin, sub: user, aud: gate, iat: now, exp: now + 300, jti: randomBytes(16).toString('hex') };
  const text = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
  const signature = sign('sha256', Buffer.from(text), { key: privateKey, dsaEncoding: 'ieee-p1363' });
  return `${text}.${signature.toString('base64url')}`;
}

/** Tells the gateway whose browser this is; answers where to send it. */
async function confirm(flow, user) {
  const answer = await fetch(`${gate}/signin/confirm`, {
    method: 'POST',
    headers: { authorization: `Bearer ${tokenFor(user)}`, 'content-type': 'application/json' },
    body: JSON.stringify({ flow }),
  });
  const body = await answer.json();
  // Only the gateway is a place to send a browser that carries a code.
  if (answer.ok && new URL(body.return_url).origin === gate) return body.return_url;
  throw new Error(body.message ?? 'the gateway gave no address of its own');
}

const routes = {
  'GET /.well-known/openid-configuration': (page) => page.json({ issuer: origin, jwks_uri: `${origin}/jwks` }),
  'GET /jwks': (page) => page.json({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' }] }),

  'GET /sign-in': (page) =>
    page.html(`<h1>Sign in at the shop</h1><form method="post" action="/sign-in">
      <label>Name <input name="user" pattern="[a-z]+" required></label><input type="hidden" name="flow" value="${page.flow}">
      <button>Sign in</button></form>`),

  'POST /sign-in': (page) => {
    if (!/^[a-z]{1,32}$/.test(page.form.get('user') ?? '')) return page.problem(400, 'That is no name.');
    const secret = randomBytes(32).toString('hex');
    sessions.set(secret, { user: page.form.get('user'), csrf: randomBytes(32).toString('hex') });
    page.response.setHeader('set-cookie', `shop=${secret}; HttpOnly; SameSite=Lax; Path=/`);
    return page.redirect(page.flow ? `/confirm?flow=${page.flow}` : '/token');
  },

  // What the user's agent calls the gateway with.
  'GET /token': (page) =>
    page.session ? page.json({ access_token: tokenFor(page.session.user) }) : page.redirect('/sign-in'),

  // `verifier_url`: the gateway sends the browser here. Asking first keeps a mere link from confirming anything.
  'GET /confirm': (page) => {
    if (!page.flow) return page.problem(400, 'There is nothing to confirm.');
    if (!page.session) return page.redirect(`/sign-in?flow=${page.flow}`);
    return page.html(`<h1>Sign in at the gateway</h1><p>You are ${page.session.user} here. Did you want to sign in at
      ${gate}?</p><form method="post" action="/confirm"><input type="hidden" name="flow" value="${page.flow}">
      <input type="hidden" name="csrf" value="${page.session.csrf}"><button>Yes, sign me in</button></form>`);
  },

  'POST /confirm': async (page) => {
    const sent = Buffer.from(page.form.get('csrf') ?? '');
    const own = Buffer.from(page.session?.csrf ?? '');
    if (own.length === 0 || sent.length !== own.length || !timingSafeEqual(sent, own)) {
      return page.problem(403, 'This form is not one of yours.');
    }
    try {
      return page.redirect(await confirm(page.flow, page.session.user));
    } catch (error) {
      console.error(`not confirmed: ${error.message}`);
      return page.problem(502, 'The gateway did not take it. Start again at your agent.');
    }
  },
};

/** One request and its answer. */
class Page {
  constructor(request, response, form) {
    const cookie = /(?:^|; )shop=([0-9a-f]{64})(?:;|$)/.exec(request.headers.cookie ?? '');
    Object.assign(this, { response, form, session: sessions.get(cookie?.[1]) });
    const flow = form.get('flow') ?? '';
    // An id of the gateway: nothing else is put into a page or an address.
    this.flow = /^[0-9a-f]{1,64}$/.test(flow) ? flow : '';
  }
  send(status, headers, body) {
    this.response.writeHead(status, { 'cache-control': 'no-store', 'x-frame-options': 'DENY', ...headers }).end(body);
  }
  html(body, status = 200) {
    this.send(status, { 'content-type': 'text/html; charset=utf-8' }, `<!doctype html><title>Shop</title>${body}`);
  }
  json(value) {
    this.send(200, { 'content-type': 'application/json' }, JSON.stringify(value));
  }
  problem(status, sentence) {
    this.html(`<p>${sentence}</p>`, status);
  }
  redirect(location) {
    this.send(303, { location });
  }
}

createServer(async (request, response) => {
  const url = new URL(request.url, origin);
  let form = url.searchParams;
  if (request.method === 'POST') {
    let body = '';
    for await (const chunk of request) if ((body += chunk).length > 4096) return request.destroy();
    form = new URLSearchParams(body);
  }
  const page = new Page(request, response, form);
  const route = routes[`${request.method} ${url.pathname}`];
  await (route ? route(page) : page.problem(404, 'There is nothing here.'));
}).listen(port, '127.0.0.1', () => console.log(`an application at ${origin}, for the gateway at ${gate}`));
