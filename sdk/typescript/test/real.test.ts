// Against a real noid serve with a real guest: NOID is the program, NOID_HOME a home with a kernel and a root file system.
import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs"
import { connect } from "node:net"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { test } from "node:test"

import { Client, Problem } from "../src/index.js"

test("a session: create, run, break, look, undo", { timeout: 600_000 }, async () => {
  const noid = await Client.connect()
  const vm = `ts-${process.pid}`
  try {
    const steps: string[] = []
    for await (const e of noid.stream("create", { body: { name: vm, auto: "exec" } })) {
      steps.push(e.event)
      if (e.event === "result") assert.equal((e.data as { name: string }).name, vm)
    }
    assert.equal(steps.at(-1), "result")
    assert.ok((await noid.call("list", {})).vms.some((v) => v.name === vm && v.state === "running"))

    const done = await noid.exec(vm, "echo out; echo err >&2; exit 3")
    assert.deepEqual([done.exit_code, done.stdout, done.stderr], [3, "out\n", "err\n"])

    const seen: Buffer[] = []
    const binary = await noid.exec(vm, "printf 'a\\377b'; sleep 0.1; echo more", { stdout: (b) => seen.push(b) })
    assert.equal(binary.exit_code, 0)
    assert.deepEqual(Buffer.concat(seen), Buffer.from("a\xffbmore\n", "latin1"))

    const bytes = Buffer.from(Array.from({ length: 100_000 }, (_, i) => i % 256))
    await noid.writeFile(vm, "/root/bytes", bytes, { mode: "600" })
    assert.deepEqual(await noid.readFile(vm, "/root/bytes"), bytes)
    assert.equal((await noid.call("stat_file", { path: { vm }, query: { path: "/root/bytes" } })).mode, "0600")

    const before = await noid.call("checkpoint", { path: { vm }, body: { label: "before" } })
    await noid.exec(vm, "rm /root/bytes; echo new >/root/new")
    const diff = await noid.call("diff", { query: { from: `${vm}@${before.id}`, to: vm } })
    assert.deepEqual(diff.changes.map((c) => [c.kind, c.path]).sort(), [["added", "/root/new"], ["removed", "/root/bytes"]])
    await noid.call("undo", { path: { vm }, body: {} })
    assert.deepEqual(await noid.readFile(vm, "/root/bytes"), bytes)

    // What breaks off ends the command; an error has its kind.
    const stop = new AbortController()
    const sleeping = noid.exec(vm, "echo begun; exec sleep 1000", { stdout: () => stop.abort(), signal: stop.signal })
    await assert.rejects(sleeping, (e: Error) => e.name === "AbortError")
    await assert.rejects(noid.call("inspect", { path: { vm: "none" } }), (e) => e instanceof Problem && e.kind === "not_found" && e.hint !== "")

    // The list, live.
    const live = noid.stream("events", {})
    const first = await live.next()
    assert.equal(first.value?.event, "vms")
    await live.return(undefined)
  } finally {
    await noid.call("destroy", { path: { vm }, query: { checkpoints: true } })
    await noid.close()
  }
})

test("a program that is not there", async () => {
  await assert.rejects(Client.connect({ program: "/none/noid", home: "/none" }), /ENOENT/)
  const none = new Client({ socketPath: "/none/serve.sock" })
  await assert.rejects(none.call("version", {}), /ENOENT/)
})

test("Ctrl+C is for the program alone, whose server ends after it", { timeout: 60_000 }, async () => {
  // The program is the leader of a process group, to which a terminal would send SIGINT.
  const script = `
    import { Client, server } from ${JSON.stringify(new URL("../src/index.js", import.meta.url))}
    const { socketPath } = await server()
    const noid = new Client({ socketPath })
    setInterval(() => {}, 1000)
    process.once("SIGINT", async () => {
      console.log((await noid.call("version", {})).version)
      process.exit() // it does not close
    })
    console.log(socketPath)`
  const program = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: ["ignore", "pipe", "inherit"], detached: true })
  const [first] = await once(program.stdout, "data")
  const socketPath = String(first).trim()
  const idle = connect(socketPath)
  idle.on("error", () => {}) // its end is what counts
  await once(idle, "connect")
  const closed = once(idle, "close")
  const said = once(program.stdout, "data")
  const exit = once(program, "exit")
  process.kill(-program.pid!, "SIGINT")
  assert.notEqual(String((await said)[0]).trim(), "")
  assert.deepEqual(await exit, [0, null])
  assert.ok(!existsSync(dirname(socketPath)), "the socket's directory stays")
  idle.resume()
  await closed
})

test("a temporary directory whose path is too long for a socket", { timeout: 60_000 }, async () => {
  const before = process.env["TMPDIR"]
  const top = mkdtempSync(join(tmpdir(), "noid-test-"))
  const long = join(top, "x".repeat(100))
  mkdirSync(long)
  process.env["TMPDIR"] = long
  try {
    const noid = await Client.connect()
    assert.notEqual((await noid.call("version", {})).version, "")
    await noid.close()
    assert.deepEqual(readdirSync(long), [])
  } finally {
    if (before === undefined) delete process.env["TMPDIR"]
    else process.env["TMPDIR"] = before
    rmSync(top, { recursive: true, force: true })
  }
})
