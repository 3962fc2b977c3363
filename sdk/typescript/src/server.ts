// Finding a noid serve, or starting one.
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { connect } from "node:net"
import { homedir, tmpdir } from "node:os"
import { join } from "node:path"

/** A server on a socket. close ends it if it is one's own. */
export interface Server {
  socketPath: string
  close(): Promise<void>
}

/** The server of the home, $NOID_HOME or ~/.noid, if one listens there; else one that is started, and ends with this program. */
export async function server(options: { program?: string; home?: string } = {}): Promise<Server> {
  const home = options.home ?? process.env["NOID_HOME"] ?? join(homedir(), ".noid")
  const socketPath = join(home, "serve.sock")
  if (await listens(socketPath)) return { socketPath, close: async () => {} }
  return start(options.program ?? process.env["NOID"] ?? "noid", home)
}

function listens(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const c = connect(path)
    c.once("connect", () => (c.destroy(), resolve(true)))
    c.once("error", () => resolve(false))
  })
}

async function start(program: string, home: string): Promise<Server> {
  const dir = mkdtempSync(join(tmpdir(), "noid-"))
  const socketPath = join(dir, "serve.sock")
  // --stdin: the server ends when its standard input does, so also when this program is killed.
  const child = spawn(program, ["serve", "--stdin", "--socket", socketPath], {
    env: { ...process.env, NOID_HOME: home },
    stdio: ["pipe", "pipe", "pipe"],
  })
  let said = ""
  child.stderr.setEncoding("utf8").on("data", (text: string) => (said = (said + text).slice(-4096)))
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()))
  const remove = () => rmSync(dir, { recursive: true, force: true })
  await new Promise<void>((resolve, reject) => {
    child.once("error", reject)
    child.stdout.once("data", () => resolve()) // the address: it listens
    void ended.then(() => reject(new Error(`noid serve did not start: ${said.trim()}`)))
  }).catch((e: unknown) => {
    remove()
    throw e
  })
  child.stdout.resume()
  child.unref() // it does not keep this program from its end
  for (const s of [child.stdin, child.stdout, child.stderr]) (s as unknown as { unref?: () => void }).unref?.()
  return {
    socketPath,
    close: async () => {
      child.ref()
      child.stdin.end()
      await ended
      remove()
    },
  }
}
