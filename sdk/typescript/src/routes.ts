// Made of 'noid serve --print-openapi' by generate.mjs.
export const routes = {
  "diff": [
    "GET",
    "/v1/diff"
  ],
  "du": [
    "GET",
    "/v1/du"
  ],
  "events": [
    "GET",
    "/v1/events"
  ],
  "remove_image": [
    "DELETE",
    "/v1/images"
  ],
  "images": [
    "GET",
    "/v1/images"
  ],
  "pull": [
    "POST",
    "/v1/images"
  ],
  "inspect_image": [
    "GET",
    "/v1/images/inspect"
  ],
  "run": [
    "POST",
    "/v1/run"
  ],
  "secrets": [
    "GET",
    "/v1/secrets"
  ],
  "version": [
    "GET",
    "/v1/version"
  ],
  "list": [
    "GET",
    "/v1/vms"
  ],
  "create": [
    "POST",
    "/v1/vms"
  ],
  "destroy": [
    "DELETE",
    "/v1/vms/{vm}"
  ],
  "inspect": [
    "GET",
    "/v1/vms/{vm}"
  ],
  "auto": [
    "PUT",
    "/v1/vms/{vm}/auto"
  ],
  "checkpoints": [
    "GET",
    "/v1/vms/{vm}/checkpoints"
  ],
  "checkpoint": [
    "POST",
    "/v1/vms/{vm}/checkpoints"
  ],
  "forget": [
    "DELETE",
    "/v1/vms/{vm}/checkpoints/{checkpoint}"
  ],
  "unpin": [
    "DELETE",
    "/v1/vms/{vm}/checkpoints/{checkpoint}/pin"
  ],
  "pin": [
    "PUT",
    "/v1/vms/{vm}/checkpoints/{checkpoint}/pin"
  ],
  "restore": [
    "POST",
    "/v1/vms/{vm}/checkpoints/{checkpoint}/restore"
  ],
  "console_socket": [
    "GET",
    "/v1/vms/{vm}/console"
  ],
  "exec_socket": [
    "GET",
    "/v1/vms/{vm}/exec"
  ],
  "exec": [
    "POST",
    "/v1/vms/{vm}/exec"
  ],
  "explore": [
    "POST",
    "/v1/vms/{vm}/explore"
  ],
  "remove_file": [
    "DELETE",
    "/v1/vms/{vm}/files"
  ],
  "read_file": [
    "GET",
    "/v1/vms/{vm}/files"
  ],
  "write_file": [
    "PUT",
    "/v1/vms/{vm}/files"
  ],
  "list_files": [
    "GET",
    "/v1/vms/{vm}/files/list"
  ],
  "make_dir": [
    "POST",
    "/v1/vms/{vm}/files/mkdir"
  ],
  "rename_file": [
    "POST",
    "/v1/vms/{vm}/files/rename"
  ],
  "stat_file": [
    "GET",
    "/v1/vms/{vm}/files/stat"
  ],
  "read_tar": [
    "GET",
    "/v1/vms/{vm}/files/tar"
  ],
  "write_tar": [
    "PUT",
    "/v1/vms/{vm}/files/tar"
  ],
  "fork": [
    "POST",
    "/v1/vms/{vm}/fork"
  ],
  "history": [
    "GET",
    "/v1/vms/{vm}/history"
  ],
  "jobs": [
    "GET",
    "/v1/vms/{vm}/jobs"
  ],
  "kill": [
    "POST",
    "/v1/vms/{vm}/jobs/{job}/kill"
  ],
  "keep": [
    "POST",
    "/v1/vms/{vm}/keep"
  ],
  "logs": [
    "GET",
    "/v1/vms/{vm}/logs"
  ],
  "net": [
    "GET",
    "/v1/vms/{vm}/net"
  ],
  "net_log": [
    "GET",
    "/v1/vms/{vm}/net/log"
  ],
  "set_rules": [
    "POST",
    "/v1/vms/{vm}/net/rules"
  ],
  "pause": [
    "POST",
    "/v1/vms/{vm}/pause"
  ],
  "remove_port": [
    "DELETE",
    "/v1/vms/{vm}/ports"
  ],
  "ports": [
    "GET",
    "/v1/vms/{vm}/ports"
  ],
  "add_ports": [
    "POST",
    "/v1/vms/{vm}/ports"
  ],
  "prune": [
    "POST",
    "/v1/vms/{vm}/prune"
  ],
  "redo": [
    "POST",
    "/v1/vms/{vm}/redo"
  ],
  "rename": [
    "POST",
    "/v1/vms/{vm}/rename"
  ],
  "resume": [
    "POST",
    "/v1/vms/{vm}/resume"
  ],
  "revoke_secret": [
    "DELETE",
    "/v1/vms/{vm}/secrets/{secret}"
  ],
  "grant_secret": [
    "PUT",
    "/v1/vms/{vm}/secrets/{secret}"
  ],
  "shell_socket": [
    "GET",
    "/v1/vms/{vm}/shell"
  ],
  "start": [
    "POST",
    "/v1/vms/{vm}/start"
  ],
  "stop": [
    "POST",
    "/v1/vms/{vm}/stop"
  ],
  "try": [
    "POST",
    "/v1/vms/{vm}/try"
  ],
  "undo": [
    "POST",
    "/v1/vms/{vm}/undo"
  ]
} as const
