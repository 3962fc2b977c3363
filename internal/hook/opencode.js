// Runs the commands of OpenCode in a microVM of noid. Made by 'noid hook --print-config'.
import { spawnSync } from "node:child_process"

const noid = ["noid"]

// ask has noid say what becomes of a call of a tool: its input is another then, or it is refused.
function ask(call, input) {
  const { status, stdout, stderr, error } = spawnSync(noid[0], noid.slice(1), {
    input: JSON.stringify({ hook_event_name: "PreToolUse", ...call, tool_input: input }),
    encoding: "utf8",
  })
  if (error) throw error
  if (status !== 0) throw new Error(stderr.trim() || `noid hook exited with ${status}`)
  const answer = stdout ? JSON.parse(stdout).hookSpecificOutput : {}
  if (answer.permissionDecision === "deny") throw new Error(answer.permissionDecisionReason)
  if (!answer.updatedInput) return
  for (const key of Object.keys(input)) delete input[key]
  Object.assign(input, answer.updatedInput)
}
