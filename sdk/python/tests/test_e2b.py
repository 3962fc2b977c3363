"""E2B's own client, as it comes from PyPI, against noid serve: docs/e2b.md."""

import os
import re
import subprocess
import sys
from pathlib import Path

import e2b
import pytest

DOC = Path(__file__).parent.parent / "e2b.md"


@pytest.fixture(scope="module")
def serve(home):
    """A server on loopback; the environment that leads E2B's client to it."""
    command = [os.environ["NOID_TEST_BIN"], "serve", "--listen", "127.0.0.1:0", "--stdin"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        url, token = server.stdout.readline().strip().split("/#token=")
        with pytest.MonkeyPatch.context() as env:
            for key in "E2B_API_URL", "E2B_SANDBOX_URL":
                env.setenv(key, url + "/e2b")
            env.setenv("E2B_API_KEY", token)
            env.delenv("E2B_DEBUG", raising=False)
            yield url
        server.stdin.close()
        assert server.wait() == 0


def test_document(serve):
    program = re.search(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL).group(1)
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "hello\n\n['plan.txt']\none\ntwo\n\n2\n\nTrue False\n"


def test_rest(serve):
    with pytest.raises(e2b.AuthenticationException):
        e2b.Sandbox.create(api_key="wrong")
    with pytest.raises(e2b.SandboxException, match="noid does not serve network"):
        e2b.Sandbox.create(network={"deny_out": ["192.0.2.1"]})
    with e2b.Sandbox.create(timeout=600, metadata={"job": "a b&c"}) as sandbox:
        commands, files = sandbox.commands, sandbox.files
        with pytest.raises(e2b.CommandExitException) as failed:
            commands.run("echo out; echo err >&2; exit 7")
        assert (failed.value.exit_code, failed.value.stdout, failed.value.stderr) == (7, "out\n", "err\n")
        # The guest waits for an answer to what it has written: output that came at the end would be too late.
        got = []
        wait = "echo one; while ! [ -e /tmp/go ]; do sleep 0.1; done; echo two"
        commands.run(wait, on_stdout=lambda text: (got.append(text), files.write("/tmp/go", "")))
        assert got == ["one\n", "two\n"]
        sleeper = commands.run("cat; sleep 1000", background=True, stdin=True)
        assert [p.pid for p in commands.list()] == [sleeper.pid]
        sleeper.disconnect()
        again = commands.connect(sleeper.pid)
        again.send_stdin("read\n")
        assert next(iter(again))[0] == "read\n"
        assert again.kill() and not commands.kill(1_000_000)
        with pytest.raises(e2b.CommandExitException) as failed:
            again.wait()
        assert (failed.value.exit_code, failed.value.error) == (-1, "signal: killed")
        with pytest.raises(e2b.TimeoutException):
            commands.run("sleep 1000", timeout=0.1)

        assert files.write_files([{"path": "/tmp/a/b", "data": b"\x00\xff"}, {"path": "c", "data": "text"}])[1].path == "/root/c"
        assert files.read("/tmp/a/b", format="bytes") == b"\x00\xff"
        with open(DOC, "rb") as f:
            files.write("/tmp/doc", f, gzip=True)
        assert b"".join(files.read("/tmp/doc", format="stream")) == DOC.read_bytes()
        assert files.make_dir("/tmp/d/e") and not files.make_dir("/tmp/d/e")
        assert files.rename("/tmp/a/b", "/tmp/d/b").path == "/tmp/d/b"
        info = files.get_info("/tmp/d/b")
        assert (info.size, info.type, info.permissions, info.owner) == (2, e2b.FileType.FILE, "-rw-r--r--", "root")
        assert [f.name for f in files.list("/tmp/d")] == ["b", "e"]
        files.remove("/tmp/d")
        assert not files.exists("/tmp/d")
        with pytest.raises(e2b.FileNotFoundException):
            files.read("/tmp/d/b")
        with pytest.raises(e2b.SandboxException, match="noid does not serve watching"):
            files.watch_dir("/tmp")

        page = e2b.Sandbox.list(query=e2b.SandboxQuery(metadata={"job": "a b&c"}))
        assert [s.sandbox_id for s in page.next_items()] == [sandbox.sandbox_id] and not page.has_next
        sandbox.set_timeout(1200)
        info = sandbox.get_info()
        assert (info.end_at - info.started_at).total_seconds() > 1000 and info.state == e2b.SandboxState.RUNNING
        assert sandbox.pause() and not sandbox.pause() and not sandbox.is_running()
        with pytest.raises(e2b.SandboxException):
            commands.run("true")
        assert e2b.Sandbox.connect(sandbox.sandbox_id, timeout=600).files.read("c") == "text"
        assert sandbox.is_running() and sandbox.get_host(3000).endswith(".noid.invalid")
    assert not sandbox.is_running() and not sandbox.kill()
    with pytest.raises(e2b.NotFoundException):
        sandbox.get_info()
