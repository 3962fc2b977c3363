"""The client against a fake server: what it sends, what it makes of answers, what it repeats."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import noid
from noid import _html
from noid._events import EventParser
from noid.errors import of_problem
from noid.models import CheckpointInfo, Diff, decode, result_of

VM = {"name": "dev", "state": "running", "cpus": 1, "mem_mib": 128, "driver": "qemu", "created_at": "2026-11-29T16:00:00Z"}


class FakeServer:
    """Answers as it is told, and notes what it was asked. An answer that is an exception is a connection that breaks."""

    def __init__(self, *answers, instances=("A",)):
        self.answers = list(answers)
        self.requests = []
        self.instances = list(instances)

    def __call__(self, request):
        if request.url.path == "/v1/version":
            instance = self.instances.pop(0) if len(self.instances) > 1 else self.instances[0]
            return httpx.Response(200, json={"version": "0.1.0-dev", "api": "v1", "instance": instance, "newer": 1})
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    def client(self):
        return noid.Client(transport=httpx.MockTransport(self))

    def body(self, i=-1):
        return json.loads(self.requests[i].content)


def problem(status, kind, hint=""):
    return httpx.Response(status, json={"detail": f"no {kind}", "kind": kind, "hint": hint, "status": status})


def exec_answer(**more):
    return {"exit_code": 0, "stdout": "", "stdout_encoding": "utf-8", "stderr": "", "stderr_encoding": "utf-8", **more}


def test_exec_sends_what_it_was_given():
    server = FakeServer(VM, exec_answer(stdout="/wA=", stdout_encoding="base64", stderr="é"))
    result = server.client().get("dev").exec(["cat", "-"], cwd="/srv", env={"A": "b"}, user="nobody", input="text", timeout=0.5, at="base")
    assert server.requests[-1].url.path == "/v1/vms/dev/exec"
    assert server.body() == {
        "argv": ["cat", "-"], "dir": "/srv", "env": {"A": "b"}, "user": "nobody", "input_base64": "dGV4dA==", "timeout_s": 0.5, "at": "base",
    }
    assert (result.stdout_bytes, result.stdout, result.stderr) == (b"\xff\x00", "\ufffd\x00", "é")


def test_failed_commands():
    server = FakeServer(VM, exec_answer(exit_code=3, stderr="oh no"), exec_answer(exit_code=3, stderr="oh no"), exec_answer(exit_code=124, timed_out=True))
    vm = server.client().get("dev")
    assert vm.exec("false").exit_code == 3
    with pytest.raises(noid.CommandError, match="false: exit code 3: oh no") as e:
        vm.exec("false", check=True)
    assert e.value.result.exit_code == 3
    with pytest.raises(noid.CommandTimeout):
        vm.exec("sleep 9", timeout=1)


@pytest.mark.parametrize("kind, cls", [
    ("usage", noid.UsageError), ("not_found", noid.NotFound), ("exists", noid.AlreadyExists), ("busy", noid.Busy), ("state", noid.StateError),
    ("timeout", noid.TimedOut), ("host", noid.HostError), ("failed", noid.Failed), ("interrupted", noid.Interrupted), ("forbidden", noid.Forbidden),
    ("of a newer noid", noid.Failed),
])
def test_errors_are_classes(kind, cls):
    with pytest.raises(cls) as e:
        FakeServer(problem(409, kind, "do this")).client().get("dev")
    assert type(e.value) is cls
    assert (e.value.message, e.value.hint, e.value.status) == (f"no {kind}", "do this", 409)
    assert str(e.value) == f"no {kind}\nhint: do this"


def test_an_answer_that_is_no_problem_document():
    assert str(of_problem(["x"], 502)) == "the server answered with status 502"
    with pytest.raises(noid.Failed, match="status 502"):
        FakeServer(httpx.Response(502, text="<html>")).client().get("dev")


def test_a_change_is_repeated_with_its_key():
    server = FakeServer(VM, httpx.ReadError("broken"), {})
    server.client().get("dev").stop()
    keys = [r.headers["Idempotency-Key"] for r in server.requests[1:]]
    assert len(keys) == 2 and keys[0] == keys[1]
    assert [r.headers.get("Noid-Instance") for r in server.requests[1:]] == [None, "A"]


def test_each_change_has_a_key_of_its_own():
    server = FakeServer(VM, {}, {})
    vm = server.client().get("dev")
    vm.pause()
    vm.resume()
    assert "Idempotency-Key" not in server.requests[0].headers
    assert server.requests[1].headers["Idempotency-Key"] != server.requests[2].headers["Idempotency-Key"]


def test_a_change_is_not_repeated_to_another_server():
    server = FakeServer(VM, httpx.ReadError("broken"), instances=["A", "B"])
    with pytest.raises(noid.Disconnected):
        server.client().get("dev").stop()
    assert len(server.requests) == 2


def test_a_command_is_not_repeated():
    server = FakeServer(VM, httpx.ReadError("broken"))
    with pytest.raises(noid.Disconnected):
        server.client().get("dev").exec("make")
    assert len(server.requests) == 2


def test_what_never_went_out_is_repeated():
    server = FakeServer(VM, httpx.ConnectError("refused"), exec_answer())
    assert server.client().get("dev").exec("make").ok


def test_repeating_ends():
    server = FakeServer(*[httpx.ReadError("broken")] * 5)
    with pytest.raises(noid.Disconnected):
        server.client().get("dev")
    assert len(server.requests) == 3


def test_another_api_is_refused():
    def answer(request):
        return httpx.Response(200, json={"version": "9.0", "api": "v9"})

    with pytest.raises(noid.HostError, match="noid 9.0 serves 'v9'"):
        noid.Client(transport=httpx.MockTransport(answer)).list()


def test_events():
    stream = (
        b'event: output\ndata: {"stream":"stdout","text":"a\xc2\x85b"}\n\n:\n\n'
        b'event: output\ndata: {"stream":"stderr","base64":"/w=="}\n\nevent: result\ndata: ' + json.dumps(exec_answer(exit_code=1)).encode() + b"\n\n"
    )
    for size in 1, 7, len(stream):
        parser = EventParser()
        events = [e for i in range(0, len(stream), size) for e in parser.feed(stream[i : i + size])]
        assert [name for name, _ in events] == ["output", "output", "result"]
    server = FakeServer(VM, httpx.Response(200, content=stream))
    with server.client().get("dev").stream("make") as output:
        pieces = list(output)
    assert [(p.stream, p.data, p.text) for p in pieces] == [("stdout", "a\x85b".encode(), "a\x85b"), ("stderr", b"\xff", "\ufffd")]
    assert output.result.exit_code == 1


def test_events_that_break_off():
    server = FakeServer(VM, httpx.Response(200, content=b'event: output\ndata: {"stream":"stdout","text":"a"}\n\n'))
    with server.client().get("dev").stream("make") as output, pytest.raises(noid.Disconnected):
        list(output)


def test_progress():
    events = b'event: progress\ndata: {"message":"booting"}\n\nevent: result\ndata: ' + json.dumps(VM).encode() + b"\n\n"
    seen = []
    assert FakeServer(httpx.Response(200, content=events)).client().create("dev", "image", progress=seen.append).name == "dev"
    assert [p.message for p in seen] == ["booting"]
    with pytest.raises(noid.Busy):
        failed = b'event: error\ndata: {"detail":"at work","kind":"busy","status":409}\n\n'
        FakeServer(httpx.Response(200, content=failed)).client().create("dev", progress=seen.append)


def test_explore():
    variant = {"variant": 1, "command": "sh -c make", "exit_code": 0, "seconds": 1.5, "output": "", "changes": 3, "checkpoint": "3fa1c2d4"}
    result = {"vm": "dev", "variants": [variant]}
    server = FakeServer(VM, result)
    explored = server.client().get("dev").explore(["make", ["make", "-j"]], changes=True, timeout=1.5)
    assert server.body() == {"argvs": [["sh", "-c", "make"], ["make", "-j"]], "changes": True, "timeout_s": 1.5}
    assert [v.changes for v in explored] == [3] and "3fa1c2d4" in explored._repr_html_()
    events = b"".join(b"event: %s\ndata: %s\n\n" % (k, json.dumps(d).encode()) for k, d in ((b"variant", variant), (b"result", result)))
    seen = []
    assert len(FakeServer(VM, httpx.Response(200, content=events)).client().get("dev").explore(["make"], on_variant=seen.append)) == 1
    assert [v.seconds for v in seen] == [1.5]


def test_ports():
    port = {"host": "127.0.0.1:8080", "guest": 80, "proto": "tcp"}
    server = FakeServer(VM, {"vm": "dev", "ports": [port]}, {"vm": "dev", "ports": [port]}, {"vm": "dev", "ports": []})
    vm = server.client().get("dev")
    assert vm.add_port("8080:80") == vm.ports()
    assert (server.body(1), vm.remove_port("8080:80")) == ({"ports": ["8080:80"]}, None)
    assert server.requests[-1].url.params["port"] == "8080:80"


def test_warnings():
    server = FakeServer(httpx.Response(200, json=VM, headers={"Noid-Warning": "careful"}))
    with pytest.warns(noid.NoidWarning, match="careful"):
        server.client().get("dev")


def test_run_destroys_and_create_does_not():
    server = FakeServer(VM, {}, VM)
    client = server.client()
    with client.run("image", mem_mib=256):
        pass
    assert server.body(0)["mem_mib"] == 256 and server.body(0)["name"].startswith("run-")
    assert (server.requests[1].method, server.requests[1].url.query) == ("DELETE", b"checkpoints=true")
    with client.create("dev"):
        pass
    assert len(server.requests) == 3
    with pytest.raises(TypeError):
        client.create("dev", memory=1)


def test_tables_are_escaped():
    change = {"kind": "renamed", "path": "/<script>", "was": "/&", "what": ["text"], "before": None, "after": None}
    diff = decode(Diff, {"from": "a<", "to": "b", "changes": [change] * 201, "folded": 0, "cut": True, "total": 400, "patch": "<b>"})
    html = diff._repr_html_()
    assert "<script" not in html and "&lt;script&gt;" in html and "<b>" not in html and "a<" not in html
    assert "and 1 more" in html and "of 400 files" in html
    assert "<i>" not in result_of(exec_answer(stdout="<i>", stderr="<i>", exit_code=1))._repr_html_()
    assert _html.table(["<"], [["<"]]) == "<table><tr><th>&lt;</th></tr><tr><td>&lt;</td></tr></table>"
    listing = FakeServer({"vms": [{**VM, "state": "<b>"}]}).client().list()
    assert "<b>" not in listing._repr_html_() and "dev" in listing._repr_html_()


def test_a_damaged_checkpoint_has_no_time():
    info = {"id": "x", "vm": "dev", "label": "", "created_at": "", "memory": False, "synced": False, "downtime_ms": 0, "error": "damaged"}
    rest = dict.fromkeys(("disk_bytes", "memory_bytes", "state_bytes"), 0) | dict.fromkeys(("driver", "driver_version", "noid_version"), "")
    assert decode(CheckpointInfo, {**info, **rest}).created_at is None


def test_the_synchronous_client_is_made_of_the_asynchronous_one():
    made = subprocess.run([sys.executable, str(Path(__file__).parent.parent / "unasync.py"), "--check"], stdout=subprocess.PIPE, text=True)
    assert made.returncode == 0, made.stdout
