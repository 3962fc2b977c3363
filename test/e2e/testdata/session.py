"""A session of 'noid mcp' by Python's client: create, work, break, undo. argv: the server's command."""
import asyncio
import os
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client


async def main():
    server = StdioServerParameters(command=sys.argv[1], args=sys.argv[2:], env=dict(os.environ))
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        await session.initialize()

        async def call(tool, **arguments):
            result = await session.call_tool(tool, arguments)
            failed = getattr(result, "isError", getattr(result, "is_error", None))
            assert failed is False, (tool, result)
            return getattr(result, "structuredContent", None) or result.structured_content

        names = {tool.name for tool in (await session.list_tools()).tools}
        assert {"create", "exec", "undo", "diff", "explore"} <= names, names
        await call("create", vm="py", auto="exec")
        await call("write_file", vm="py", path="/root/state", content="good\n")
        broken = await call("exec", vm="py", command="rm /root/state; echo gone; exit 4")
        assert (broken["exit_code"], broken["stdout"]) == (4, "gone\n"), broken
        await call("undo", vm="py")
        back = await call("read_file", vm="py", path="/root/state")
        assert back["content"] == "good\n", back
        await call("destroy", vm="py", checkpoints=True)
    print("good")


asyncio.run(main())
