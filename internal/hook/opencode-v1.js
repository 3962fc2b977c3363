export const NoidPlugin = async ({ directory }) => {
  const turns = new Map() // of each session, the message that it answers
  return {
    "chat.message": async ({ sessionID, messageID }) => {
      if (messageID) turns.set(sessionID, messageID)
    },
    "tool.execute.before": async ({ tool, sessionID }, output) =>
      ask({ session_id: sessionID, turn_id: turns.get(sessionID), cwd: directory, tool_name: tool }, output.args),
  }
}
