"""What 'noid serve' tells monitoring systems, read by their own parsers. No VM is needed."""

import http.server
import json
import os
import queue
import subprocess
import threading

import httpx
import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2
from prometheus_client.parser import text_string_to_metric_families

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def collector():
    """A fake of a collector: its URL, and the bodies that it gets."""
    got = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.put((self.path, self.headers["Content-Type"], self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    server.server_close()


def test_real_parsers(tmp_path, collector):
    url, got = collector
    socket = str(tmp_path / "s")
    environment = {**os.environ, "NOID_HOME": str(tmp_path / "home"), "OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_SERVICE_NAME": "tested"}
    server = subprocess.Popen(
        [os.environ["NOID_TEST_BIN"], "serve", "--stdin", "--socket", socket, "--metrics", "--otlp", "env"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
    )
    try:
        assert server.stdout.readline().startswith(b"unix:")
        with httpx.Client(transport=httpx.HTTPTransport(uds=socket), base_url="http://localhost") as client:
            assert client.get("/v1/vms", headers={"traceparent": f"00-{TRACE}-{SPAN}-01"}).status_code == 200
            assert client.get("/v1/vms/none").status_code == 404
            answer = client.get("/metrics")
    finally:
        server.stdin.close()
        server.wait()
        server.stdout.close()

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {f.name: f for f in text_string_to_metric_families(answer.text)}
    assert all(f.type in ("counter", "gauge", "histogram") and f.documentation for f in families.values())
    requests = {(s.labels["operation"], s.labels["status"]): s.value for s in families["noid_http_requests"].samples}
    assert requests == {("list", "200"): 1, ("inspect", "404"): 1}
    assert {s.labels["state"]: s.value for s in families["noid_vms"].samples} == dict.fromkeys(("running", "paused", "stopped", "dead", "elsewhere", "broken"), 0)
    durations = families["noid_http_request_duration_seconds"].samples
    assert [s.value for s in durations if s.name.endswith("_count")] == [1, 1]
    assert [s.value for s in durations if s.labels.get("le") == "+Inf"] == [1, 1]
    assert families["process_open_fds"].samples[0].value > 3

    spans = []
    while not got.empty():
        path, kind, body = got.get()
        assert (path, kind) == ("/v1/traces", "application/json")
        # protobuf's own JSON has ids in base64, OTLP's in hex: they are checked apart.
        document = json.loads(body)
        for span in document["resourceSpans"][0]["scopeSpans"][0]["spans"]:
            assert len(bytes.fromhex(span["traceId"])) == 16 and len(bytes.fromhex(span["spanId"])) == 8
            spans.append(span)
        message = json_format.Parse(body, ExportTraceServiceRequest())
        resource = message.resource_spans[0].resource
        assert {a.key: a.value.string_value for a in resource.attributes}["service.name"] == "tested"
        for span in message.resource_spans[0].scope_spans[0].spans:
            assert span.kind == trace_pb2.Span.SPAN_KIND_SERVER and 0 < span.start_time_unix_nano <= span.end_time_unix_nano
    assert [(s["name"], s["traceId"] == TRACE, s.get("parentSpanId")) for s in spans] == [
        ("GET /v1/vms", True, SPAN), ("GET /v1/vms/{vm}", False, None), ("GET /metrics", False, None),
    ]
