// Sign-in and consent pages of the identity provider: plain forms that a browser or a cookie-jar client can drive.

const escapes = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
const escape = (text) => String(text).replace(/[&<>"']/g, (character) => escapes[character])

function page(title, content) {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${escape(title)}</title><h1>${escape(title)}</h1>${content}</html>`
}

function answer(response, status, title, content) {
  response.writeHead(status, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' })
  response.end(page(title, content))
}

async function form(request) {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  return new URLSearchParams(Buffer.concat(chunks).toString())
}

async function grant(provider, { params, session, grantId, prompt }) {
  const found = grantId ? await provider.Grant.find(grantId) : undefined
  const consent = found ?? new provider.Grant({ accountId: session.accountId, clientId: params.client_id })
  const { missingOIDCScope, missingOIDCClaims, missingResourceScopes } = prompt.details
  if (missingOIDCScope) consent.addOIDCScope(missingOIDCScope.join(' '))
  if (missingOIDCClaims) consent.addOIDCClaims(missingOIDCClaims)
  for (const [resource, scopes] of Object.entries(missingResourceScopes ?? {})) consent.addResourceScope(resource, scopes.join(' '))
  return consent.save()
}

/** Serves `/interaction/<uid>`; true when the request was for it. */
export function interactions(provider, authenticate) {
  return async (request, response, pathname) => {
    if (!pathname.startsWith('/interaction/')) return false
    const details = await provider.interactionDetails(request, response)
    const { prompt, params } = details
    const login = prompt.name === 'login'
    const title = login ? 'Sign in' : 'Authorize'
    const fields = login
      ? '<input name="login" autofocus placeholder="login"><input name="password" type="password" placeholder="password">'
      : `<p>${escape(params.client_id)} asks for ${escape(params.scope)}</p>`
    const content = (note) => `${note}<form method="post">${fields}<button name="decision" value="yes">Continue</button>`
      + '<button name="decision" value="no">Cancel</button></form>'
    if (request.method !== 'POST') {
      answer(response, 200, title, content(''))
      return true
    }
    const given = await form(request)
    let result
    if (given.get('decision') === 'no') {
      result = { error: 'access_denied', error_description: 'the user cancelled' }
    } else if (login) {
      const user = authenticate(given.get('login'), given.get('password') ?? '')
      if (!user) {
        answer(response, 401, title, content('<p>Wrong login or password.</p>'))
        return true
      }
      result = { login: { accountId: user.id } }
    } else {
      result = { consent: { grantId: await grant(provider, details) } }
    }
    await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: prompt.name !== 'login' })
    return true
  }
}
