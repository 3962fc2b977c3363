"""Hooks that have schemathesis ask a real 'noid serve' for what does no harm and comes to an end: see scripts/openapi.sh.

The VM "steady" is for what leaves it as it is, "spent" for what destroys, stops or changes it: it is made again when it
is gone. Random values stay where they can: in names that no VM has, in commands, in files below /tmp/x.
"""

import json
import os
import random
import urllib.error
import urllib.request

import schemathesis

BASE, TOKEN = os.environ["OPENAPI_BASE"], os.environ["OPENAPI_TOKEN"]
SPENT = {"destroy", "rename", "stop", "start", "pause", "resume", "undo", "redo", "restore", "keep", "try", "checkpoint", "forget", "prune", "auto", "fork", "explore"}
NOWHERE = "127.0.0.1:1/none"  # no registry is asked for names that chance has made


def ask(method, path, body=None):
    """A request of our own: status and document."""
    request = urllib.request.Request(BASE + path, method=method, data=None if body is None else json.dumps(body).encode())
    request.add_header("Authorization", "Bearer " + TOKEN)
    if body is not None:
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as e:
        return e.code, json.loads(e.read() or b"null")


def there(name):
    """Makes the VM name run, and returns the id of a checkpoint of it."""
    status, vm = ask("GET", "/v1/vms/" + name)
    if status == 404:
        status, vm = ask("POST", "/v1/vms", {"name": name, "mem_mib": 128, "net": "none"})
    elif vm["state"] == "paused":
        status, vm = ask("POST", f"/v1/vms/{name}/resume")
    elif vm["state"] != "running":
        status, vm = ask("POST", f"/v1/vms/{name}/start")
    assert status in (200, 201), (status, vm)
    kept = ask("GET", f"/v1/vms/{name}/checkpoints")[1]["checkpoints"]
    if len(kept) > 20:
        ask("POST", f"/v1/vms/{name}/prune", {"keep_last": 2})
    return kept[-1]["id"] if kept else ask("POST", f"/v1/vms/{name}/checkpoints", {"label": "base"})[1]["id"]


@schemathesis.serializer("application/x-tar")
def tar(context, value):
    """Bytes that are no tar, mostly."""
    return value if isinstance(value, bytes) else json.dumps(value, default=str).encode()


@schemathesis.hook
def before_call(context, case, kwargs):
    op = case.operation.definition.raw["operationId"]
    chance = random.Random(str(case.path_parameters) + str(case.query) + str(case.body))
    if "vm" in case.path_parameters and chance.random() < 0.8:
        name = "spent" if op in SPENT else "steady"
        checkpoint = there(name)
        case.path_parameters["vm"] = name
        if "checkpoint" in case.path_parameters and chance.random() < 0.8:
            case.path_parameters["checkpoint"] = checkpoint
    query, body = case.query or {}, case.body
    if "follow" in query:
        query["follow"] = "false"
    for holder in (query, body if isinstance(body, dict) else {}):
        for key in ("path", "from", "to"):
            if op in ("remove_file", "rename_file", "write_file", "make_dir", "write_tar") and isinstance(holder.get(key), str) and holder[key].startswith("/"):
                holder[key] = "/tmp/x" + holder[key]
        for key in ("image", "ref"):
            if isinstance(holder.get(key), str) and holder[key]:
                holder[key] = NOWHERE
        if op == "diff" and chance.random() < 0.8:
            query["from"] = "steady@" + there("steady")
            query["to"] = "steady"
    for key, value in query.items():  # a header of more than 16 KiB is refused before noid sees it
        if isinstance(value, list):
            del value[20:]
    if isinstance(body, dict):
        for key, most in (("n", 1), ("jobs", 1), ("mem_mib", 128), ("cpus", 1), ("disk_mib", 64), ("timeout_s", 2)):
            if isinstance(body.get(key), (int, float)) and body[key] > most:
                body[key] = most
        if op in ("exec", "try", "run", "explore"):
            body.setdefault("timeout_s", 2)
        for key in ("commands", "argvs"):
            if isinstance(body.get(key), list):
                del body[key][2:]
        if op == "fork" and "as" not in body:
            body.setdefault("n", 1)


@schemathesis.hook
def after_call(context, case, response):
    op = case.operation.definition.raw["operationId"]
    if op in ("create", "fork", "restore", "rename", "run"):
        for vm in ask("GET", "/v1/vms")[1]["vms"]:
            if vm["name"] not in ("steady", "spent"):
                ask("DELETE", f"/v1/vms/{vm['name']}?checkpoints=true")


@schemathesis.check
def no_fault_of_noids(ctx, response, case):
    """500 is a fault of noid's. 503, 504 and 507 say what of this host or its guest is in the way."""
    assert response.status_code != 500, response.text
