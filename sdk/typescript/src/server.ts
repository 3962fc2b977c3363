// Finding a noid serve, or starting one.
import { spawn } from "node:child_process"
import { mkdtempSync, rmdirSync, rmSync } from "node:fs"
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

/** What a socket's path may have, in bytes: sun_path of unix(7), and a zero behind it. */
const maxSocketPath = 107

/** A directory for the socket name, whose path is short enough for one. */
function directory(name: string): string {
  const dir = mkdtempSync(join(tmpdir(), "noid-"))
  if (Buffer.byteLength(join(dir, name)) <= maxSocketPath) return dir
  rmdirSync(dir)
  return mkdtempSync("/tmp/noid-")
}

async function start(program: string, home: string): Promise<Server> {
  const dir = directory("serve.sock")
  const socketPath = join(dir, "serve.sock")
  // --stdin: the server ends when its standard input does, so also when this program is killed. detached: a session of its
  // own, so that Ctrl+C is for this program alone, which may have things to do with the server before it ends.
  const child = spawn(program, ["serve", "--stdin", "--socket", socketPath], {
    env: { ...process.env, NOID_HOME: home },
    stdio: ["pipe", "pipe", "pipe"],
    detached: true,
  })
  let said = ""
  child.stderr.setEncoding("utf8").on("data", (text: string) => (said = (said + text).slice(-4096)))
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()))
  const remove = () => rmSync(dir, { recursive: true, force: true })
  process.once("exit", remove) // of a program that does not close
  await new Promise<void>((resolve, reject) => {
    child.once("error", reject)
    child.stdout.once("data", () => resolve()) // the address: it listens
    void ended.then(() => reject(new Error(`noid serve did not start: ${said.trim()}`)))
  }).catch((e: unknown) => {
    process.off("exit", remove)
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
      process.off("exit", remove)
      remove()
    },
  }
}
