// Two certified OpenID providers on 127.0.0.1, for tests: node server.mjs SERVICE PORT PORT
// Whoever comes is signed in at once as the account that was PUT to /account last.
// PUT /account takes the claims as JSON; "sub" names the account.

import { createServer } from 'node:http'
import Provider from 'oidc-provider'

const [service, ...ports] = process.argv.slice(2)
const CLIENTS = { facility: 'facility-secret', partner: 'partner-secret' }
const accounts = new Map()
let current = null

async function body(request) {
  let text = ''
  for await (const chunk of request) text += chunk
  return JSON.parse(text)
}

function provider(issuer, id) {
  return new Provider(issuer, {
    clients: [{
      client_id: 'data-broker',
      client_secret: CLIENTS[id],
      redirect_uris: [`${service}/accounts/oidc/${id}/login/callback/`],
    }],
    claims: {
      openid: ['sub'],
      email: ['email', 'email_verified'],
      profile: ['preferred_username', 'given_name', 'family_name', 'name'],
      groups: ['groups', 'account'],
    },
    scopes: ['openid', 'email', 'profile', 'groups'],
    pkce: { required: () => true },
    features: { devInteractions: { enabled: false } },
    cookies: { keys: ['tests'] },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    findAccount: (_, sub) => ({ accountId: sub, claims: () => accounts.get(sub) }),
    async loadExistingGrant(context) {
      const grant = new context.oidc.provider.Grant({
        clientId: context.oidc.client.clientId,
        accountId: context.oidc.session.accountId,
      })
      grant.addOIDCScope('openid email profile groups')
      await grant.save()
      return grant
    },
  })
}

async function listen(port, id) {
  const oidc = provider(`http://127.0.0.1:${port}`, id)
  const serve = oidc.callback()
  createServer(async (request, response) => {
    if (request.method === 'PUT' && request.url === '/account') {
      const claims = await body(request)
      accounts.set(claims.sub, claims)
      current = claims.sub
      response.writeHead(204).end()
    } else if (request.url.startsWith('/interaction/')) {
      const result = current === 'nobody'
        ? { error: 'access_denied', error_description: 'the person cancelled' }
        : { login: { accountId: current } }
      await oidc.interactionFinished(request, response, result)
    } else {
      serve(request, response)
    }
  }).listen(port, '127.0.0.1', () => console.log(`listening ${port}`))
}

await listen(Number(ports[0]), 'facility')
await listen(Number(ports[1]), 'partner')
