// Supabase's Storage in front of @supabase/lite, which lacks resumable uploads: those are taken by
// @tus/server, the server that Supabase Storage itself uses, everything else is passed on. What was
// uploaded whole becomes an object of lite's, under the caller's own key and `x-upsert`.
//
//     node resumable.mjs PORT LITE_URL FOLDER

import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import http from 'node:http'
import path from 'node:path'

import { FileStore } from '@tus/file-store'
import { Server } from '@tus/server'

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

function passOn(request, response) {
  const onward = http.request(lite + request.url, { method: request.method, headers: request.headers })
  onward.on('response', (answer) => {
    response.writeHead(answer.statusCode, answer.headers)
    answer.pipe(response)
  })
  onward.on('error', () => response.destroy())
  request.pipe(onward)
}

http
  .createServer((request, response) =>
    request.url.startsWith(PATH) ? tus.handle(request, response) : passOn(request, response))
  .listen(Number(port), '127.0.0.1')
