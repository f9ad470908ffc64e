// Storage of oidc-provider in a Map: the package's own forgets after 1,000 entries, which would look like a lost token.

/** A class bound to storage of its own, as the option `adapter` wants it. */
export function MapAdapter() {
  const records = new Map()
  const expired = ({ until }) => until !== undefined && until <= Date.now()

  return class {
    constructor(model) {
      this.model = model
    }

    key(id) {
      return `${this.model}:${id}`
    }

    async upsert(id, payload, expiresIn) {
      records.set(this.key(id), { payload, until: expiresIn ? Date.now() + expiresIn * 1000 : undefined })
    }

    async find(id) {
      const record = records.get(this.key(id))
      if (!record) return undefined
      if (expired(record)) {
        records.delete(this.key(id))
        return undefined
      }
      return record.payload
    }

    async findByField(field, value) {
      for (const [key, record] of records) {
        if (key.startsWith(`${this.model}:`) && record.payload[field] === value && !expired(record)) return record.payload
      }
      return undefined
    }

    async findByUid(uid) {
      return this.findByField('uid', uid)
    }

    async findByUserCode(code) {
      return this.findByField('userCode', code)
    }

    async consume(id) {
      const payload = await this.find(id)
      if (payload) payload.consumed = Math.floor(Date.now() / 1000)
    }

    async destroy(id) {
      records.delete(this.key(id))
    }

    async revokeByGrantId(grantId) {
      for (const [key, { payload }] of records) {
        if (key.startsWith(`${this.model}:`) && payload.grantId === grantId) records.delete(key)
      }
    }
  }
}
