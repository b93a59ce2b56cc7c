// What Supabase's Storage has and @supabase/lite lacks, in front of it; the rest is passed on.
//
// Resumable uploads are taken by @tus/server, the server that Supabase Storage itself uses. What was
// uploaded whole becomes an object of lite's, under the caller's own key and `x-upsert`.
// Listings (`list-v2`, and `list` by folder) are read from the tables that lite keeps, in the shape
// of Supabase's answers. A range of an object is answered with 206, as Supabase's Storage does; lite
// answers 200 with all of it (its own address still does, so that both are tested).
//
//     PGHOST=... PGUSER=... PGDATABASE=... node front.mjs PORT LITE_URL FOLDER

import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import http from 'node:http'
import path from 'node:path'

import { FileStore } from '@tus/file-store'
import { Server } from '@tus/server'
import postgres from 'postgres'

import { rest } from './rest.mjs'

const [port, lite, folder] = process.argv.slice(2)
const PIECE = 6 * 1024 * 1024
const PATH = '/storage/v1/upload/resumable'

// As Supabase does: status and text of the error, not its JSON.
async function refused(answer) {
  const body = await answer.json().catch(() => ({}))
  const status = Number(body.statusCode) || answer.status
  return { status_code: status, body: `${body.message ?? 'Internal'}` }
}

const headersOf = (request) => {
  const kept = new Headers()
  for (const name of ['apikey', 'authorization', 'x-upsert']) {
    const value = request.headers.get(name)
    if (value !== null) kept.set(name, value)
  }
  return kept
}

const objectUrl = (kind, { bucketName, objectName }) =>
  `${lite}/storage/v1/${kind}/${bucketName}/${objectName.split('/').map(encodeURIComponent).join('/')}`

const tus = new Server({
  path: PATH,
  datastore: new FileStore({ directory: folder }),
  // Behind a proxy the real one may tell an address that only the proxy knows.
  generateUrl: (_request, { id }) => `https://inside.invalid/upload/resumable/${id}`,
  getFileIdFromRequest: (request) => new URL(request.url).pathname.slice(PATH.length + 1) || undefined,
  async onIncomingRequest(request, id) {
    if (request.method !== 'PATCH') return
    const upload = await tus.datastore.getUpload(id)
    const length = Number(request.headers.get('content-length'))
    if (length !== PIECE && upload.offset + length !== upload.size)
      throw { status_code: 400, body: 'every piece but the last must have 6 MiB' }
  },
  async onUploadCreate(request, upload) {
    const { file_size_limit: limit, ...bucket } = await fetch(
      `${lite}/storage/v1/bucket/${upload.metadata.bucketName}`, { headers: headersOf(request) },
    ).then((answer) => answer.json())
    if (bucket.error) throw { status_code: Number(bucket.statusCode), body: bucket.message }
    if (limit && upload.size > limit) throw { status_code: 413, body: 'Maximum size exceeded' }
    if (request.headers.get('x-upsert') !== 'true') {
      const there = await fetch(objectUrl('object/info', upload.metadata), { headers: headersOf(request) })
      if (there.ok) throw { status_code: 409, body: 'The resource already exists' }
    }
    return {}
  },
  async onUploadFinish(request, upload) {
    const file = path.join(folder, upload.id)
    const headers = headersOf(request)
    headers.set('content-type', upload.metadata.contentType)
    headers.set('content-length', `${(await stat(file)).size}`)
    const answer = await fetch(objectUrl('object', upload.metadata), {
      method: 'POST', headers, body: createReadStream(file), duplex: 'half',
    })
    if (!answer.ok) throw await refused(answer)
    return { headers: { 'Tus-Complete': '1' } }
  },
})

const sql = postgres({ max: 4 })
const row = ({ name, id, updated_at, created_at, metadata }) => ({
  name, id, updated_at, created_at, last_accessed_at: updated_at,
  metadata: typeof metadata === 'string' ? JSON.parse(metadata) : metadata,
})

async function listV2(bucket, { prefix = '', limit = 1000, cursor }) {
  const size = Math.min(limit, 1000)
  const after = cursor ? Buffer.from(cursor, 'base64').toString().replace(/^l:/, '') : ''
  const rows = await sql`
    SELECT * FROM storage.objects
    WHERE bucket_id = ${bucket} AND name LIKE ${prefix + '%'} AND name COLLATE "C" > ${after}
    ORDER BY name COLLATE "C" LIMIT ${size + 1}`
  const hasNext = rows.length > size
  const objects = rows.slice(0, size).map(row)
  const last = objects.at(-1)?.name
  return { hasNext, folders: [], objects,
    ...(hasNext ? { nextCursor: Buffer.from(`l:${last}`).toString('base64'), nextCursorKey: last } : {}) }
}

async function list(bucket, { prefix = '', limit = 100, offset = 0 }) {
  const folder = prefix && !prefix.endsWith('/') ? `${prefix}/` : prefix
  const rows = await sql`
    WITH below AS (
      SELECT *, substr(name, ${folder.length + 1}) AS rest FROM storage.objects
      WHERE bucket_id = ${bucket} AND starts_with(name, ${folder})
    )
    SELECT DISTINCT split_part(rest, '/', 1) AS name, NULL::uuid AS id, NULL::timestamptz AS updated_at,
      NULL::timestamptz AS created_at, NULL::jsonb AS metadata FROM below WHERE rest LIKE '%/%'
    UNION ALL
    SELECT rest, id::uuid, updated_at, created_at, metadata::jsonb FROM below WHERE rest NOT LIKE '%/%'
    ORDER BY name LIMIT ${limit} OFFSET ${offset}`
  return rows.map(row)
}

async function listing(request, response, how, bucket) {
  const chunks = await Array.fromAsync(request)
  // lite says whether this key may see this bucket.
  const seen = await fetch(`${lite}/storage/v1/bucket/${encodeURIComponent(bucket)}`, {
    headers: headersOf({ headers: new Headers(request.headers) }),
  })
  const answer = seen.ok ? await how(bucket, JSON.parse(Buffer.concat(chunks))) : await seen.json()
  response.writeHead(seen.status, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
}

// The bytes from `first` to `last`, which are there, of an answer that has all of them.
async function part(answer, response, first, last) {
  const whole = Buffer.concat(await Array.fromAsync(answer))
  const bytes = whole.subarray(first, last + 1)
  const { 'transfer-encoding': _, ...headers } = answer.headers
  if (first >= whole.length)
    return response.writeHead(416, { 'content-range': `bytes */${whole.length}` }).end()
  response
    .writeHead(206, {
      ...headers,
      'content-length': bytes.length,
      'content-range': `bytes ${first}-${first + bytes.length - 1}/${whole.length}`,
    })
    .end(bytes)
}

function passOn(request, response) {
  const onward = http.request(lite + request.url, { method: request.method, headers: request.headers })
  onward.on('response', (answer) => {
    const range = request.headers.range?.match(/^bytes=(\d+)-(\d+)$/)
    if (answer.statusCode === 200 && range && /^\/storage\/v1\/object\//.test(request.url))
      return part(answer, response, Number(range[1]), Number(range[2]))
    response.writeHead(answer.statusCode, answer.headers)
    answer.pipe(response)
  })
  onward.on('error', () => response.destroy())
  request.pipe(onward)
}

const dataApi = rest(sql, passOn)

http
  .createServer((request, response) => {
    if (request.url.startsWith('/rest/v1/') || request.url.startsWith('/auth/v1/admin/users'))
      return dataApi(request, response)
    if (request.url.startsWith(PATH)) return tus.handle(request, response)
    const [, kind, bucket] = request.url.match(/^\/storage\/v1\/object\/(list|list-v2)\/([^/]+)$/) ?? []
    if (request.method !== 'POST' || !kind) return passOn(request, response)
    listing(request, response, kind === 'list' ? list : listV2, decodeURIComponent(bucket)).catch((error) => {
      console.error(error)
      response.destroy()
    })
  })
  .listen(Number(port), '127.0.0.1')
