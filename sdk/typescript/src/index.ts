/**
 * VMs of noid from TypeScript, over 'noid serve'. All types of requests and answers are made of its OpenAPI text; this file
 * has what such a text does not say: streams, files, and who waits for what.
 *
 * @module
 */
import { randomUUID } from "node:crypto"
import type { IncomingMessage } from "node:http"
import type { Readable } from "node:stream"

import { all, events, Problem, send, type Address, type Event } from "./http.js"
import { routes } from "./routes.js"
import type { components, operations } from "./schema.js"
import { server } from "./server.js"

export { Problem, type Address, type Event } from "./http.js"
export { server, type Server } from "./server.js"
export type Schemas = components["schemas"]

/** An operation's name in the OpenAPI text: its operationId. */
export type Operation = keyof operations & keyof typeof routes

type Json<T> = T extends { content: { "application/json": infer B } } ? B : never
type Param<Op extends Operation, In extends string> = operations[Op]["parameters"] extends { [k in In]?: infer P } ? P : undefined
type Body<Op extends Operation> = operations[Op] extends { requestBody?: infer R } ? Json<NonNullable<R>> : never
type Needs<K extends string, T> = [T] extends [never] | [undefined] ? {} : undefined extends T ? { [k in K]?: T } : { [k in K]: T }

/** What an operation takes: path, query and body, as the OpenAPI text has them. */
export type Input<Op extends Operation> = Needs<"path", Param<Op, "path">> &
  Needs<"query", Param<Op, "query">> &
  ([Body<Op>] extends [never] ? {} : { body?: Body<Op> }) & {
    signal?: AbortSignal
    /** A change is made once for a key. Each call has one of its own by itself. */
    idempotencyKey?: string
  }

/** What an operation answers. */
export type Output<Op extends Operation> = {
  [S in keyof operations[Op]["responses"]]: S extends 200 | 201 ? Json<operations[Op]["responses"][S]> : never
}[keyof operations[Op]["responses"]]

type Loose = { path?: object; query?: object; body?: unknown; signal?: AbortSignal; idempotencyKey?: string }

export class Client {
  constructor(private readonly address: Address, private readonly end: () => Promise<void> = async () => {}) {}

  /** A client of the home's own noid serve, which is started if none listens. */
  static async connect(options: { program?: string; home?: string } = {}): Promise<Client> {
    const { socketPath, close } = await server(options)
    return new Client({ socketPath }, close)
  }

  /** Ends the server that connect has started. VMs run on. */
  close(): Promise<void> {
    return this.end()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** Does an operation. An error of noid's is a Problem. */
  async call<Op extends Operation>(op: Op, input: Input<Op>): Promise<Output<Op>> {
    const text = (await this.bytes(op, input as Loose, "application/json")).toString("utf8")
    return (text === "" ? undefined : JSON.parse(text)) as Output<Op>
  }

  /**
   * Does an operation that takes long, or listens: its events as they come. The event result has what call returns; the
   * event error is thrown as a Problem. Who leaves the loop ends what it began.
   */
  async *stream<Op extends Operation>(op: Op, input: Input<Op>): AsyncGenerator<Event> {
    const answer = await this.request(op, input as Loose, "text/event-stream")
    try {
      for await (const e of events(answer)) {
        if (e.event === "error") throw new Problem(e.data as object)
        yield e
        if (e.event === "result") return
      }
      if (op !== "events") throw new Problem({ kind: "interrupted", status: 503, detail: "the connection ended before the result" })
    } catch (e) {
      throw (input as Loose).signal?.aborted ? (input as Loose).signal?.reason : e
    } finally {
      answer.destroy()
    }
  }

  /** Runs a command, and hands its output on as it comes. The result has no output then. */
  async exec(vm: string, command: string | Input<"exec">["body"], out?: { stdout?: (b: Buffer) => void; stderr?: (b: Buffer) => void; signal?: AbortSignal }): Promise<Output<"exec">> {
    const body = (typeof command === "string" ? { command } : command) as NonNullable<Input<"exec">["body"]>
    const input = { path: { vm }, body, ...(out?.signal ? { signal: out.signal } : {}) } as Input<"exec">
    if (!out?.stdout && !out?.stderr) return this.call("exec", input)
    for await (const e of this.stream("exec", input)) {
      if (e.event === "result") return e.data as Output<"exec">
      if (e.event === "output") {
        const piece = e.data as { stream: "stdout" | "stderr"; text?: string; base64?: string }
        out[piece.stream]?.(piece.base64 === undefined ? Buffer.from(piece.text ?? "") : Buffer.from(piece.base64, "base64"))
      }
    }
    throw new Problem({ kind: "interrupted", status: 503, detail: "the connection ended before the result" })
  }

  /** A file of a guest. */
  async readFile(vm: string, path: string, options: { at?: string; signal?: AbortSignal } = {}): Promise<Buffer> {
    const query = { path, ...(options.at ? { at: options.at } : {}) }
    return this.bytes("read_file", { path: { vm }, query, signal: options.signal }, "*/*")
  }

  /** Writes a file of a guest, whole: it gets its name when all of it is there. */
  async writeFile(vm: string, path: string, data: string | Uint8Array | Readable, options: { mode?: string; signal?: AbortSignal } = {}): Promise<void> {
    const query = { path, ...(options.mode ? { mode: options.mode } : {}) }
    await this.bytes("write_file", { path: { vm }, query, signal: options.signal }, "application/json", data)
  }

  private async bytes(op: Operation, input: Loose, accept: string, raw?: string | Uint8Array | Readable): Promise<Buffer> {
    try {
      return await all(await this.request(op, input, accept, raw))
    } catch (e) {
      throw input.signal?.aborted ? input.signal.reason : e
    }
  }

  private request(op: Operation, input: Loose, accept: string, raw?: string | Uint8Array | Readable): Promise<IncomingMessage> {
    const [method, template] = routes[op]
    const values = (input.path ?? {}) as Record<string, unknown>
    const query = new URLSearchParams()
    for (const [name, value] of Object.entries(input.query ?? {}))
      for (const one of Array.isArray(value) ? value : [value]) if (one !== undefined) query.append(name, String(one))
    const path = template.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(String(values[name])))
    const headers: Record<string, string> = { Accept: accept }
    if (method !== "GET" && raw === undefined) headers["Idempotency-Key"] = input.idempotencyKey ?? randomUUID()
    if (raw !== undefined) headers["Content-Type"] = "application/octet-stream"
    else if (input.body !== undefined) headers["Content-Type"] = "application/json"
    const body = raw ?? (input.body === undefined ? undefined : JSON.stringify(input.body))
    return send(this.address, { method, path: query.size > 0 ? `${path}?${query}` : path, headers, ...(body === undefined ? {} : { body }), signal: input.signal })
  }
}
