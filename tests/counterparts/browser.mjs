// A real browser for tests: Chromium, driven by playwright-core. Each person has a context, with cookies of its own, and one tab.
//
//   node browser.mjs --chromium /usr/bin/chromium
//
// Prints one line of JSON when it serves: {url}. Every POST there is one step, {do, person, …}, see `steps`; the answer is
// {value} or {error}. The packages come from $SALLYPORT_NODE_MODULES, else from where `cargo xtask setup` puts them.
import { createServer } from 'node:http'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'

const modules = process.env.SALLYPORT_NODE_MODULES
  ? `${pathToFileURL(process.env.SALLYPORT_NODE_MODULES).href}/`
  : new URL('../../target/setup/node/node_modules/', import.meta.url).href
const { default: playwright } = await import(new URL('playwright-core/index.mjs', modules).href)

const { values: options } = parseArgs({ options: { chromium: { type: 'string' } } })
const PATIENCE = 15_000

const browser = await playwright.chromium.launch({
  executablePath: options.chromium,
  headless: true,
  // Chromium refuses to run its sandbox as root.
  chromiumSandbox: process.getuid() !== 0,
  args: [
    '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
    // Whatever a page asks for, nothing leaves this machine.
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost',
  ],
})

const people = new Map()
let arrived = 0

async function arrive() {
  const context = await browser.newContext({ viewport: { width: 760, height: 560 }, locale: 'en', colorScheme: 'light' })
  context.setDefaultTimeout(PATIENCE)
  const page = await context.newPage()
  const person = { context, page, answer: undefined, ran: [], asked: [] }
  // Nothing of ours runs a script: whatever shows here came in by a hole.
  page.on('dialog', async (dialog) => { person.ran.push(dialog.message()); await dialog.dismiss() })
  page.on('popup', async (popup) => { person.ran.push(popup.url()); await popup.close() })
  page.on('request', (request) => person.asked.push(request.url()))
  page.on('response', (response) => {
    const request = response.request()
    if (request.isNavigationRequest() && request.frame() === page.mainFrame()) person.answer = response
  })
  arrived += 1
  const id = String(arrived)
  people.set(id, person)
  return id
}

/** What a person has before their eyes, and behind it. */
async function look({ page, answer, ran, asked }) {
  await page.waitForLoadState('load')
  return {
    url: page.url(),
    status: answer?.status() ?? 0,
    headers: await answer?.headersArray() ?? [],
    text: await page.innerText('body'),
    title: await page.title(),
    elements: await page.evaluate(() => Array.from(document.querySelectorAll('*'), ({ localName }) => localName)),
    ran,
    asked,
  }
}

const steps = {
  arrive,
  leave: async ({ context }, { person }) => { people.delete(person); await context.close() },
  open: async ({ page }, { url }) => { await page.goto(url) },
  press: async ({ page }, { name }) => {
    await page.getByRole('button', { name, exact: true }).or(page.getByRole('link', { name, exact: true })).click()
  },
  tick: async ({ page }) => { await page.getByRole('checkbox').check() },
  type: async ({ page }, { field, text }) => {
    await page.getByLabel(field, { exact: true }).or(page.getByPlaceholder(field, { exact: true })).fill(text)
  },
  see: async ({ page }, { text }) => { await page.getByText(text).first().waitFor() },
  be_at: async ({ page }, { prefix }) => { await page.waitForURL((url) => url.href.startsWith(prefix)) },
  look,
  keep: async ({ context }, { url, name, value }) => {
    // Its prefix asks for exactly these attributes, so the browser is told no URL.
    const { hostname: domain } = new URL(url)
    await context.addCookies([{ name, value, domain, path: '/', secure: true, httpOnly: true, sameSite: 'Lax' }])
  },
  cookies: async ({ context }) => context.cookies(),
  picture: async ({ page }, { file }) => { await page.screenshot({ path: file, animations: 'disabled', caret: 'hide' }) },
}

async function step(asked) {
  const known = people.get(asked.person)
  const action = steps[asked.do]
  if (!action || (asked.do !== 'arrive' && !known)) throw new Error(`no such step or person: ${JSON.stringify(asked)}`)
  try {
    return await action(known, asked)
  } catch (error) {
    const seen = known ? `${known.page.url()}\n${await known.page.innerText('body').catch(() => '')}` : ''
    throw new Error(`${JSON.stringify(asked)}: ${error.message}\nat ${seen}`)
  }
}

async function json(request) {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  return JSON.parse(Buffer.concat(chunks))
}

const http = createServer(async (request, response) => {
  const outcome = await json(request).then(step).then((value) => ({ value: value ?? null }), ({ message }) => ({ error: message }))
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(outcome))
})
http.listen(0, '127.0.0.1', () => {
  process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${http.address().port}/` })}\n`)
})
