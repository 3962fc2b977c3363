// HTTP over a unix socket or loopback, which fetch of Node cannot do over a socket without another package.
import { request, type IncomingMessage } from "node:http"
import type { Readable } from "node:stream"

/** Where a noid serve listens. */
export type Address = { socketPath: string } | { url: string; token: string }

/** An error that noid serve has answered: RFC 9457, with noid's own kind and hint. */
export class Problem extends Error {
  /** One of: usage, not_found, exists, busy, state, timeout, host, failed, interrupted, forbidden. */
  readonly kind: string
  readonly status: number
  /** What to do about it, "" if noid does not know. */
  readonly hint: string

  constructor(doc: { kind?: string; status?: number; detail?: string; title?: string; hint?: string }) {
    super(doc.detail || doc.title || "noid serve answered with an error")
    this.name = "Problem"
    this.kind = doc.kind ?? "failed"
    this.status = doc.status ?? 500
    this.hint = doc.hint ?? ""
  }
}

export interface Send {
  method: string
  path: string
  headers?: Record<string, string>
  body?: string | Uint8Array | Readable
  signal?: AbortSignal | undefined
}

/** Sends one request, and returns the answer when its headers are there. An answer of 400 and more is a Problem. */
export async function send(to: Address, what: Send): Promise<IncomingMessage> {
  const headers: Record<string, string> = { ...what.headers }
  const target = "socketPath" in to ? { socketPath: to.socketPath, host: "localhost" } : new URL(to.url)
  if ("token" in to) headers["Authorization"] = `Bearer ${to.token}`
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    const options = { method: what.method, path: what.path, headers, signal: what.signal }
    const r = target instanceof URL ? request(target, options, resolve) : request({ ...target, ...options }, resolve)
    r.on("error", reject)
    if (what.body === undefined || typeof what.body === "string" || what.body instanceof Uint8Array) r.end(what.body)
    else what.body.on("error", (e) => r.destroy(e)).pipe(r)
  })
  if ((answer.statusCode ?? 500) < 400) return answer
  const text = (await all(answer)).toString("utf8")
  let doc: object
  try {
    doc = JSON.parse(text)
  } catch {
    doc = { detail: text, status: answer.statusCode }
  }
  throw new Problem(doc)
}

/** All bytes of an answer. */
export async function all(answer: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const part of answer) parts.push(part as Buffer)
  return Buffer.concat(parts)
}

/** An event of a stream (https://html.spec.whatwg.org/multipage/server-sent-events.html), its data read as JSON. */
export interface Event {
  event: string
  data: unknown
}

/** The events of an answer, as they come. */
export async function* events(answer: IncomingMessage): AsyncGenerator<Event> {
  answer.setEncoding("utf8")
  let rest = ""
  let event = ""
  let data: string[] = []
  for await (const part of answer) {
    const lines = (rest + part).split("\n") // noid ends lines with \n alone
    rest = lines.pop() ?? ""
    for (const line of lines) {
      if (line === "") {
        if (data.length > 0) yield { event, data: JSON.parse(data.join("\n")) }
        event = ""
        data = []
      } else if (line.startsWith("event:")) event = line.slice(6).trim()
      else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""))
    }
  }
}
