// What a hosted project's gateway and PostgREST have and @supabase/lite lacks, in front of its Data
// API; everything else of the Data API is lite's own.
//
// - PostgREST describes its tables (`GET /rest/v1/`: definitions). Written from the catalogs as
//   PostgREST's OpenAPI output is (its types, `<pk/>` and `<fk/>` notes, `required`, enums), and only
//   for keys that may read: lite says which.
// - The gateway takes older keys, which are tokens, as `apikey`; lite takes them as a token only.
// - Auth lists users for the service role. Who that is follows from the key, as in the gateway.

import crypto from 'node:crypto'

const { FRONT_SECRET_KEY, FRONT_PUBLISHABLE_KEY, FRONT_JWT_SECRET } = process.env

const TABLES = `
  SELECT c.relname AS name, a.attname AS column, a.attnotnull AS not_null,
    obj_description(c.oid) AS about, col_description(c.oid, a.attnum) AS description,
    CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, NULL) ELSE format_type(a.atttypid, NULL) END AS format,
    information_schema._pg_char_max_length(a.atttypid, a.atttypmod) AS max_length,
    (SELECT array_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = a.atttypid) AS labels,
    EXISTS (SELECT FROM pg_constraint p WHERE p.conrelid = c.oid AND p.contype = 'p' AND a.attnum = ANY (p.conkey)) AS pk,
    (SELECT json_build_object('table', r.relname, 'column', ra.attname) FROM pg_constraint f
      JOIN pg_class r ON r.oid = f.confrelid
      JOIN pg_attribute ra ON ra.attrelid = r.oid AND ra.attnum = f.confkey[1]
      WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.conkey = ARRAY[a.attnum] ORDER BY f.conname LIMIT 1) AS fk
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type t ON t.oid = a.atttypid
  WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'f', 'p') AND NOT c.relispartition
    AND has_table_privilege('service_role', c.oid, 'SELECT')
  ORDER BY c.relname, a.attnum`

function described(rows) {
  const definitions = {}
  for (const row of rows) {
    const table = (definitions[row.name] ??= { required: [], properties: {}, type: 'object' })
    if (row.not_null) table.required.push(row.column)
    const notes = []
    if (row.pk) notes.push('This is a Primary Key.<pk/>')
    if (row.fk) {
      const { table: other, column } = row.fk
      notes.push(`This is a Foreign Key to \`${other}.${column}\`.<fk table='${other}' column='${column}'/>`)
    }
    const note = notes.length ? `Note:\n${notes.join('\n')}` : undefined
    const description = row.description && note ? `${row.description}\n\n${note}` : (note ?? row.description ?? undefined)
    table.properties[row.column] = {
      description, format: row.format, maxLength: row.max_length ?? undefined, enum: row.labels ?? undefined,
      type: 'string',
    }
  }
  return definitions
}

// The role that a key stands for, or null for a key that the gateway does not know.
function roleOf(key) {
  if (key === FRONT_SECRET_KEY) return 'service_role'
  if (key === FRONT_PUBLISHABLE_KEY) return 'anon'
  const [head, claims, signature] = key?.split('.') ?? []
  const proof = crypto.createHmac('sha256', FRONT_JWT_SECRET).update(`${head}.${claims}`).digest('base64url')
  return signature === proof ? JSON.parse(Buffer.from(claims, 'base64url')).role : null
}

const answered = (response, status, body) =>
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))

export function rest(sql, passOn) {
  return (request, response) => {
    const key = request.headers.apikey
    const role = roleOf(key)
    if (role === null) return answered(response, 401, { message: 'Invalid API key' })
    const path = request.url.split('?')[0]
    if (path === '/auth/v1/admin/users') {
      if (role !== 'service_role') return answered(response, 403, { code: 403, error_code: 'not_admin' })
      return answered(response, 200, { users: [], aud: 'authenticated' })
    }
    if (key.includes('.')) request.headers.apikey = FRONT_PUBLISHABLE_KEY
    if (path !== '/rest/v1/' || request.method !== 'GET') return passOn(request, response)
    if (role !== 'service_role') return answered(response, 401, { message: 'Secret API key required' })
    return sql.begin(async (one) => {
      await one`SET LOCAL search_path = ''`
      const rows = await one.unsafe(TABLES)
      answered(response, 200, { swagger: '2.0', definitions: described(rows) })
    }).catch((error) => {
      console.error(error)
      response.destroy()
    })
  }
}
