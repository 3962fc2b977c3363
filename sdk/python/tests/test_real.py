"""The client against real VMs."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import noid
from noid import _server

README = Path(__file__).parent.parent / "README.md"


def test_commands(vm):
    assert vm.exec("uname -s", check=True).stdout == "Linux\n"
    r = vm.exec(["sh", "-c", "cat; echo $A >&2; pwd; exit 3"], input=b"\xff\x00", env={"A": "b c"}, cwd="/tmp")
    assert (r.exit_code, r.stdout_bytes, r.stderr) == (3, b"\xff\x00/tmp\n", "b c\n")
    assert vm.exec(["no-such-command"]).exit_code == 127
    with pytest.raises(noid.CommandTimeout):
        vm.exec("sleep 1000", timeout=1)


def test_streams(vm):
    # The guest waits for an answer to what it has written: output that came at the end would be too late.
    with vm.stream("echo one; while ! [ -e /tmp/go ]; do sleep 0.1; done; echo two >&2; exit 4") as output:
        first = next(iter(output))
        assert (first.stream, first.data) == ("stdout", b"one\n") and output.result is None
        vm.exec("touch /tmp/go", check=True)
        assert [(p.stream, p.text) for p in output] == [("stderr", "two\n")]
    assert output.result.exit_code == 4
    with vm.stream("echo $$; exec sleep 1000") as output:  # left before its end: it is hung up
        pid = int(next(iter(output)).text)
    while vm.exec(f"kill -0 {pid}").ok:
        pass


def test_checkpoints_and_time(vm):
    vm.exec("echo good >/root/state", check=True)
    checkpoint = vm.checkpoint("good")
    assert [c.label for c in vm.checkpoints(size=True)] == ["good"]
    vm.exec("echo bad >/root/state", check=True)
    diff = vm.diff(checkpoint, patch=True)
    assert [(c.kind, c.path) for c in diff] == [("changed", "/root/state")]
    assert "-good\n+bad\n" in diff.patch and "/root/state" in diff._repr_html_()
    assert checkpoint.exec("cat /root/state").stdout == "good\n"
    assert vm.undo().to == checkpoint.id
    vm.redo()  # of a VM that nobody has used since
    assert vm.exec("cat /root/state").stdout == "bad\n"
    kept = vm.restore(checkpoint).kept
    assert kept in [c.id for c in vm.checkpoints()]
    assert vm.exec("cat /root/state").stdout == "good\n"
    vm.exec("echo bad >/root/state", check=True)
    assert vm.undo().to == checkpoint.id and vm.exec("cat /root/state").stdout == "good\n"
    tried = vm.try_("echo worse >/root/state; exit 1")
    assert tried.went_back and tried.exit_code == 1 and vm.exec("cat /root/state").stdout == "good\n"
    assert "good" in [e.label for e in vm.log().checkpoints]
    checkpoint.pin()
    checkpoint.pin(False)
    for c in vm.checkpoints():
        c.forget()


def test_explorations_and_jobs(vm):
    seen = []
    explored = vm.explore(["echo 1 >/root/variant", "exit 3"], score="cat /root/variant", changes=True, on_variant=seen.append)
    assert [(v.variant, v.exit_code, v.score) for v in explored] == [(1, 0, "1"), (2, 3, "")] and len(seen) == 2
    assert explored.variants[0].checkpoint in explored._repr_html_()
    vm.keep(1)
    assert vm.exec("cat /root/variant").stdout == "1\n"
    job = vm.start_job("exec sleep 1000")
    assert [(j.id, j.state) for j in vm.jobs() if j.state == "running"] == [(job, "running")]
    vm.kill(job, "KILL")
    assert vm.ports() == [] and vm.logs() and vm.inspect()["name"] == vm.name
    for c in vm.checkpoints():
        c.forget()


def test_forks(vm):
    vm.exec("echo 1 >/root/forked", check=True)
    with vm.fork(2) as copies:
        assert [c.exec("cat /root/forked").stdout for c in copies] == ["1\n", "1\n"] and not copies.failed
        copies[0].exec("echo 2 >/root/forked", check=True)
        assert copies[1].exec("cat /root/forked").stdout == vm.exec("cat /root/forked").stdout == "1\n"
        names = {c.name for c in copies}
    assert not names & {v.name for v in noid.list()}


def test_files(vm, tmp_path):
    files = vm.files
    files.mkdir("/root/d/e", parents=True)
    files.write("/root/d/text", "é\n", mode=0o600)
    files.write("/root/d/bytes", bytes(range(256)) * 10_000)
    assert files.read_text("/root/d/text") == "é\n" and files.read("/root/d/bytes") == bytes(range(256)) * 10_000
    assert [(f.name, f.type, f.size) for f in files.list("/root/d")] == [("bytes", "file", 2_560_000), ("e", "dir", files.stat("/root/d/e").size), ("text", "file", 3)]
    assert files.stat("/root/d/text").mode == "0600"
    files.rename("/root/d/text", "/root/d/e/text")
    assert files.exists("/root/d/e/text") and not files.exists("/root/d/text")
    with pytest.raises(noid.NotFound):
        files.read("/root/d/text")
    files.download("/root/d", tmp_path)
    assert (tmp_path / "d" / "e" / "text").read_text() == "é\n"
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "run.sh").write_text("echo ran\n")
    files.upload(tmp_path / "up", "/root")
    assert vm.exec("sh /root/up/run.sh").stdout == "ran\n"
    for path in "/root/d", "/root/up":
        files.remove(path, recursive=True)


def test_errors(client, vm):
    with pytest.raises(noid.NotFound, match="missing"):
        client.get("missing")
    with pytest.raises(noid.AlreadyExists):
        client.create(vm.name)
    with pytest.raises(noid.UsageError):
        client.create("no/name")
    vm.pause()
    with pytest.raises(noid.StateError) as e:
        vm.exec("true")
    assert e.value.hint
    vm.resume()


def test_asyncio(vm):
    async def main():
        async with noid.AsyncClient() as client:
            same = await client.get(vm.name)
            results = await asyncio.gather(*(same.exec(f"echo {i}") for i in range(8)))
            async with same.stream("echo a; echo b") as output:
                text = "".join([p.text async for p in output])
            await same.files.write("/root/async", b"x")
            assert await same.files.read("/root/async") == b"x" and output.result.ok
            return [r.stdout for r in results], text

    assert asyncio.run(main()) == ([f"{i}\n" for i in range(8)], "a\nb\n")


def test_what_types_say_is_what_noid_says(home):
    """Each field that the OpenAPI document has for a model, and that can be missing, has a default here, and is there."""
    document = json.loads(subprocess.run([_server.find_binary(), "serve", "--print-openapi"], check=True, stdout=subprocess.PIPE).stdout)
    schemas = document["components"]["schemas"]
    pairs = {"VM": noid.VMInfo, "Checkpoint": noid.CheckpointInfo, "Entry": noid.Entry, "History": noid.History, "DiffResult": noid.Diff, "Change": noid.Change,
             "Undone": noid.Undone, "Restored": noid.Restored, "Cut": noid.Cut, "Version": noid.Version, "PackageChange": noid.PackageChange,
             "Variant": noid.Variant, "Explored": noid.Explored, "Port": noid.Port, "Secret": noid.Secret, "Job": noid.Job}
    for name, model in pairs.items():
        schema = schemas[name]
        fields = {f.rstrip("_"): d for f, d in model.__dataclass_fields__.items()}
        assert set(schema["properties"]) == set(fields), name
        required = {f for f, d in fields.items() if d.default is d.default_factory}
        assert required <= set(schema["required"]), name


def servers():
    """The processes of this machine that are ``noid serve`` for the home of the tests."""
    found = []
    for p in Path("/proc").glob("[0-9]*"):
        try:
            if b"\0serve\0--stdin\0" in (p / "cmdline").read_bytes() and f"NOID_HOME={os.environ['NOID_HOME']}".encode() in (p / "environ").read_bytes():
                found.append(int(p.name))
        except OSError:
            pass
    return found


def python(code, **options):
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)


def test_a_server_of_its_own_ends_with_its_program(home):
    before = set(servers())
    # Two programs at once, each with a server; one is killed.
    programs = [python("import noid; noid.list(); print('ready', flush=True); input()") for _ in range(2)]
    for p in programs:
        assert p.stdout.readline() == "ready\n"
    assert len(set(servers()) - before) == 2
    programs[0].kill()
    programs[1].communicate("\n")
    programs[0].communicate()
    deadline = time.monotonic() + 60
    while set(servers()) - before:
        assert time.monotonic() < deadline, "a server outlives its program"
    with noid.Client() as a, noid.Client() as b:
        a.list(), b.list()
        assert len(set(servers()) - before) <= 1


# httpcore 1.0 leaves a socket whose connect(2) failed to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_server_of_the_home_comes_first(home, client):
    binary = _server.find_binary()
    with subprocess.Popen([binary, "serve", "--stdin"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as own:
        assert own.stdout.readline().startswith(b"unix:")
        before = servers()
        with noid.Client() as c:
            assert c.version().version and c.list() is not None
            assert servers() == before
            own.send_signal(signal.SIGKILL)  # the next request finds another, though its socket is still there
            own.wait()
            assert c.list() is not None
        own.stdin.close()
    (Path(home) / "serve.sock").unlink()


def test_no_binary(monkeypatch, home):
    monkeypatch.setenv("NOID", "/no/such/noid")
    with pytest.raises(noid.HostError, match="/no/such/noid"):
        noid.Client().list()
    monkeypatch.setenv("NOID", "/bin/false")
    with pytest.raises(noid.HostError):
        noid.Client().list()


def test_readme(home, tmp_path, monkeypatch, capsys):
    """Its examples, one after the other as one program, with the VMs of the tests instead of Python's image."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    code = "\n".join(blocks).replace('"python:3.13"', '""')
    assert len(blocks) == 7 and code != "\n".join(blocks)
    exec(compile(code, str(README), "exec"), {})
    said = capsys.readouterr().out
    for text in "hello\nLinux\n", "+ /etc/motd", "['one\\n0\\n', 'one\\n1\\n']", "stdout", "a.txt", 'no vm "missing"', "['0\\n', '1\\n', '2\\n', '3\\n']":
        assert text in said, said
    assert Path("a.txt").read_text() == "text"
