export default {
  id: "noid",
  async setup(ctx) {
    await ctx.tool.hook("execute.before", (event) =>
      ask(
        {
          session_id: event.sessionID,
          turn_id: event.messageID,
          cwd: ctx.location?.directory,
          tool_name: event.tool,
        },
        event.input,
      ),
    )
  },
}
