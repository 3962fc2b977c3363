// Made of 'noid serve --print-openapi' by generate.mjs.
export interface paths {
    "/v1/diff": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Compare two moments */
        get: operations["diff"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/du": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Show the disk space of VMs, checkpoints and the home */
        get: operations["du"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Hear of what changes
         * @description The event vms has the list of all VMs (VMList), now and whenever it changes; the event checkpoints the name of a VM whose checkpoints have changed (Done).
         */
        get: operations["events"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/images": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List the images */
        get: operations["images"];
        put?: never;
        /** Get an image of a registry, whatever is there already */
        post: operations["pull"];
        /** Remove a name of an image, and the image with its last name */
        delete: operations["remove_image"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/images/inspect": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Show all that is known of an image */
        get: operations["inspect_image"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/run": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Run a command in a new VM, which is destroyed afterwards */
        post: operations["run"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/secrets": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List the secrets, without their values */
        get: operations["secrets"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/version": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Say which noid serves */
        get: operations["version"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List the VMs */
        get: operations["list"];
        put?: never;
        /** Make a VM, boot it and wait until it runs commands */
        post: operations["create"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Show all that is known of a VM */
        get: operations["inspect"];
        put?: never;
        post?: never;
        /** Destroy a VM, with its disk */
        delete: operations["destroy"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/auto": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /** Say when checkpoints are made by themselves */
        put: operations["auto"];
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/checkpoints": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List the checkpoints of a VM, which may be gone */
        get: operations["checkpoints"];
        put?: never;
        /** Keep a VM's memory and disk as they are now */
        post: operations["checkpoint"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/checkpoints/{checkpoint}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /** Delete a checkpoint */
        delete: operations["forget"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/checkpoints/{checkpoint}/pin": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /** Have a checkpoint stay when checkpoints are pruned */
        put: operations["pin"];
        post?: never;
        /** Let a checkpoint go when checkpoints are pruned */
        delete: operations["unpin"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/checkpoints/{checkpoint}/restore": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Put a VM back to a checkpoint, memory and all, or make a new VM of one */
        post: operations["restore"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/console": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * The serial console over a WebSocket
         * @description As exec_socket; of SocketStart the type alone counts. A byte 17 (Ctrl+Q) detaches, as closing does; the VM runs on.
         */
        get: operations["console_socket"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/exec": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Run a command over a WebSocket
         * @description A WebSocket, of the subprotocol noid.v1. The client's first message is the text SocketStart. Then binary messages
         *     carry data, after one byte that names the stream: 0 stdin (from the client), 1 stdout, 2 stderr. Text messages are JSON: from
         *     the client SocketControl, and at the end one SocketEnd of the server's, after which it closes. A signal or a size does not
         *     wait until the command has read what came before. A client that closes hangs the command up. Where only a page of a browser is the client, it offers the token as a
         *     second subprotocol: noid.bearer.TOKEN.
         */
        get: operations["exec_socket"];
        put?: never;
        /**
         * Run a command
         * @description When the client goes, the command is hung up, as by ssh. The beginning and the end of long output is kept.
         */
        post: operations["exec"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/explore": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Run variants of a command side by side, each in a clone, and keep what each has made as a checkpoint */
        post: operations["explore"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/files": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Read a file
         * @description Range may name one range of bytes; the answer is 206 then. A file of /proc has no length before it was read.
         */
        get: operations["read_file"];
        /**
         * Write a file, whole
         * @description A file that is there keeps owner and mode. The new one is complete before it has its name.
         */
        put: operations["write_file"];
        post?: never;
        /** Remove a file or a directory */
        delete: operations["remove_file"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/files/list": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List a directory */
        get: operations["list_files"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/files/mkdir": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Make a directory */
        post: operations["make_dir"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/files/rename": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Rename a file or a directory */
        post: operations["rename_file"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/files/stat": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Say what a file is, without following a symlink */
        get: operations["stat_file"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/files/tar": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Read a file or a directory as a tar */
        get: operations["read_tar"];
        /** Unpack a tar into a directory */
        put: operations["write_tar"];
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/fork": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Make running copies of a VM or a checkpoint */
        post: operations["fork"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/history": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Show what a VM has been through, the newest first */
        get: operations["history"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/jobs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List the commands that noid runs in a guest */
        get: operations["jobs"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/jobs/{job}/kill": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Send a signal to a command and its process group */
        post: operations["kill"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/keep": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Make a variant of the last exploration the VM; the other variants are forgotten */
        post: operations["keep"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/logs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Read the log of the console, or of the VMM
         * @description As the guest wrote it: not fit for a terminal.
         */
        get: operations["logs"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/net": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Show what a VM may reach */
        get: operations["net"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/net/log": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Read what a VM was refused, and its uses of secrets
         * @description Lines of JSON, as noid net log --json prints them.
         */
        get: operations["net_log"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/net/rules": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Change what a VM may reach, at once */
        post: operations["set_rules"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/pause": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Have a VM stand still */
        post: operations["pause"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/ports": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List the ports that lead to a VM */
        get: operations["ports"];
        put?: never;
        /** Have ports of this host lead to a VM, at once */
        post: operations["add_ports"];
        /** Take a port from a VM, at once */
        delete: operations["remove_port"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/prune": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Remove the checkpoints that no rule keeps */
        post: operations["prune"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/redo": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Take back the last undo, or the last N */
        post: operations["redo"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/rename": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Give a VM another name */
        post: operations["rename"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/resume": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Let a paused VM run again */
        post: operations["resume"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/secrets/{secret}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /** Let a VM use a secret */
        put: operations["grant_secret"];
        post?: never;
        /** Take a secret from a VM */
        delete: operations["revoke_secret"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/shell": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * A login shell over a WebSocket
         * @description As exec_socket, with a terminal and without command and argv.
         */
        get: operations["shell_socket"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/start": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Boot a stopped VM */
        post: operations["start"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/stop": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Shut a VM down; its disk stays */
        post: operations["stop"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/try": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Run a command, and put the VM back, memory and disk, if it fails */
        post: operations["try"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/vms/{vm}/undo": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Put a VM back to before its last change, or its last N */
        post: operations["undo"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        AutoRequest: {
            /** @description exec (before each command), a time such as 5m, or off */
            when: string;
        };
        Change: {
            kind: string;
            path: string;
            was?: string;
            what?: string[];
            before?: components["schemas"]["File"];
            after?: components["schemas"]["File"];
        };
        Checkpoint: {
            id: string;
            vm: string;
            label: string;
            created_at: string;
            parent?: string;
            memory: boolean;
            synced: boolean;
            downtime_ms: number;
            disk_bytes: number;
            memory_bytes: number;
            state_bytes: number;
            driver: string;
            driver_version: string;
            noid_version: string;
            agent_version?: string;
            hardware?: {
                [key: string]: string;
            };
            cpu_model?: string;
            own_bytes?: number;
            shared_bytes?: number;
            error?: string;
        };
        CheckpointList: {
            vm: string;
            checkpoints: components["schemas"]["Checkpoint"][];
        };
        CheckpointRef: {
            vm: string;
            checkpoint: string;
        };
        CheckpointRequest: {
            /** @description a name for it, one line */
            label?: string;
        };
        Config: {
            env?: string[];
            user?: string;
            working_dir?: string;
            entrypoint?: string[];
            cmd?: string[];
            stop_signal?: string;
        };
        CreateRequest: {
            /** @description its name */
            name: string;
            /** @description a container image such as python:3.13, pulled if it is not there; empty for the user's default */
            image?: string;
            /** @description virtual CPUs; 0 for the default */
            cpus?: number;
            /** @description memory in MiB; 0 for the default */
            mem_mib?: number;
            /** @description size of its own disk in MiB; 0 for the default */
            disk_mib?: number;
            /** @description exec: a checkpoint before each command; a time such as 5m; or off */
            auto?: string;
            /** @description answer while it boots */
            no_wait?: boolean;
            /** @description none, default (the internet, not this machine or its network) or a profile that the user has made */
            net?: string;
            /** @description rules of what it may reach, and nothing else */
            allow?: string[];
            /** @description rules of what it may not reach */
            deny?: string[];
            /** @description ports that lead to the guest, as docker's -p has them: HOST:GUEST, or GUEST for any that is free */
            ports?: string[];
            /** @description names of secrets that it may use */
            secrets?: string[];
        };
        Cut: {
            /** @description where they were, in bytes from the beginning */
            at: number;
            bytes: number;
        };
        Destroyed: {
            vm: string;
            kept_checkpoints: number;
        };
        Details: {
            name: string;
            state: string;
            pid?: number;
            cpus: number;
            mem_mib: number;
            driver: string;
            created_at: string;
            error?: string;
            paused_because?: string;
            driver_version: string;
            host?: string;
            dir: string;
            kernel: string;
            boot_kernel: string;
            initrd: string;
            rootfs: string;
            disk_mib: number;
            boot_args: string;
            hardware: {
                [key: string]: string;
            };
            restored_from?: string;
            forked_from?: string;
            warm_from?: string;
            agent: boolean;
            guest?: components["schemas"]["Guest"];
            image?: components["schemas"]["Image"];
            last_error?: string;
            confinement?: components["schemas"]["Holds"];
            network: components["schemas"]["Network"];
        };
        DiffResult: {
            from: string;
            to: string;
            changes: components["schemas"]["Change"][];
            folded: number;
            cut: boolean;
            processes?: components["schemas"]["ProcessChange"][];
            packages?: components["schemas"]["PackageChange"][];
            /** @description how many files differ */
            total: number;
            /** @description as diff -u writes it */
            patch?: string;
            /** @description there is more of it: name paths */
            patch_cut?: boolean;
        };
        DirRequest: {
            path: string;
            /** @description in octal; 755 without it */
            mode?: string;
            /** @description make those on the way to it too; one that is there is no error */
            parents?: boolean;
        };
        Done: {
            vm: string;
        };
        Entry: {
            id: string;
            created_at: string;
            label?: string;
            parent?: string;
            by?: string;
            command?: string;
            turn?: string;
            to?: string;
            pinned?: boolean;
            clones?: string[];
            own_bytes?: number;
            error?: string;
        };
        ExecRequest: {
            /** @description a line for sh -c */
            command?: string;
            /** @description instead of command: a program and its arguments, without a shell */
            argv?: string[];
            /** @description directory to run in */
            dir?: string;
            /** @description variables of its environment */
            env?: {
                [key: string]: string;
            };
            /** @description USER[:GROUP] to run as */
            user?: string;
            /** @description its standard input */
            input?: string;
            /** @description end it after so many seconds, such as 0.5; 0 for never */
            timeout_s?: number;
            /** @description instead of input: bytes, in base64 */
            input_base64?: string;
            /** @description bytes of each of stdout and stderr that the answer has, 65536 if 0: as many of its beginning as of its end */
            max_output?: number;
            /** @description in a throw-away clone of the VM: as its checkpoint of this id or label has it, or now */
            at?: string;
            /** @description answer when it has begun, with the id of its job */
            detach?: boolean;
            /** @description an id that commands have which belong together: with auto exec they have one checkpoint */
            turn?: string;
        };
        ExecResult: {
            /** @description 128+N for signal N, 127 not found, 126 not executable */
            exit_code: number;
            /** @description that ended it, such as SIGKILL */
            signal?: string;
            timed_out?: boolean;
            /** @description why it could not run */
            error?: string;
            stdout: string;
            /**
             * @description base64 where it is no UTF-8
             * @enum {string}
             */
            stdout_encoding: "utf-8" | "base64";
            stdout_cut?: components["schemas"]["Cut"];
            stderr: string;
            /** @enum {string} */
            stderr_encoding: "utf-8" | "base64";
            stderr_cut?: components["schemas"]["Cut"];
            /** @description the id of one that was detached */
            job?: string;
            /** @description the VM is as it was before the command */
            went_back?: boolean;
            /** @description the checkpoint of what was there before */
            before?: string;
        };
        ExploreRequest: {
            /** @description of this checkpoint; without one, of the VM as it is */
            checkpoint?: string;
            /** @description a line for sh -c each: each runs in a clone of its own */
            commands?: string[];
            /** @description instead of commands: a program and its arguments each */
            argvs?: string[][];
            /** @description a line for sh -c that prints a number, run where a variant succeeded */
            score?: string;
            /** @description count the files that each has changed */
            changes?: boolean;
            /** @description how many run at a time; 2 if 0 */
            jobs?: number;
            /** @description directory to run in */
            dir?: string;
            /** @description USER[:GROUP] to run as */
            user?: string;
            /** @description end a variant after so many seconds, such as 0.5; 0 for never */
            timeout_s?: number;
        };
        Explored: {
            vm: string;
            variants: components["schemas"]["Variant"][];
        };
        File: {
            mode: string;
            uid: number;
            gid: number;
            size: number;
            /** Format: date-time */
            modified: string;
            target?: string;
        };
        FileDone: {
            path: string;
        };
        FileList: {
            files: components["schemas"]["GuestFile"][];
            /** @description there are more */
            cut?: boolean;
        };
        ForkRequest: {
            /** @description of this checkpoint; without one, of the VM as it is */
            checkpoint?: string;
            /** @description the name of the only copy */
            as?: string;
            /** @description how many; 1 if 0 */
            n?: number;
            /** @description what their names begin with, before a number; the VM's name and a dash without one */
            prefix?: string;
            /** @description they keep hostname and machine-id */
            keep_identity?: boolean;
            /** @description each one's own, so that of several every port is one that is free: GUEST */
            ports?: string[];
            /** @description names of secrets that they may use */
            secrets?: string[];
        };
        Forked: {
            vms: components["schemas"]["VM"][];
            failed: components["schemas"]["NotMade"][];
            /** @description how long the VM stood still */
            downtime_ms: number;
        };
        Guest: {
            agent_version: string;
            kernel: string;
            hostname: string;
            uptime_sec: number;
            load: string[];
            mem_total: number;
            mem_available: number;
            addresses: string[];
            jobs: number;
        };
        GuestFile: {
            name: string;
            /** @description the name, where it is no UTF-8 */
            name_base64?: string;
            /** @enum {string} */
            type: "file" | "dir" | "symlink" | "fifo" | "socket" | "char" | "block" | "unknown";
            /** @description permissions, in octal */
            mode: string;
            uid: number;
            gid: number;
            size: number;
            /** Format: date-time */
            modified: string;
            /** @description of a symlink */
            target?: string;
        };
        History: {
            vm: string;
            now?: string;
            checkpoints: components["schemas"]["Entry"][];
        };
        Holds: {
            landlock_abi: number;
            no_new_privs: boolean;
            seccomp_filters: number;
            capabilities: string;
            cgroup?: string;
        };
        Image: {
            digest: string;
            refs: string[];
            size_bytes: number;
            built_at: string;
            layers: string[];
            config: components["schemas"]["Config"];
        };
        ImageGone: {
            ref: string;
        };
        ImageList: {
            images: components["schemas"]["Image"][];
        };
        Job: {
            id: string;
            pid: number;
            user: string;
            started_at: string;
            state: string;
            exit_code?: number;
            tty: boolean;
            attached: boolean;
            detached: boolean;
            command: string;
        };
        JobList: {
            vm: string;
            jobs: components["schemas"]["Job"][];
        };
        KeepRequest: {
            /** @description its number */
            variant: number;
        };
        KillRequest: {
            /** @description by name or number; TERM without it */
            signal?: string;
        };
        Killed: {
            vm: string;
            job: string;
        };
        Member: {
            vm?: string;
            network?: string;
            address: string;
            address6: string;
        };
        Network: {
            mode: string;
            device?: string;
            allow: string[];
            deny: string[];
            host_ports: number[];
            host_proxy: boolean;
            host_ca?: string;
            ports: components["schemas"]["Port"][];
            sockets: components["schemas"]["Port"][];
            networks: components["schemas"]["Member"][];
            secrets: string[];
            helper?: components["schemas"]["State"];
        };
        NotMade: {
            name: string;
            error: string;
        };
        Occupied: {
            own_bytes: number;
            shared_bytes: number;
        };
        PackageChange: {
            manager: string;
            name: string;
            before?: string;
            after?: string;
        };
        Piece: {
            /** @enum {string} */
            stream: "stdout" | "stderr";
            text?: string;
            base64?: string;
        };
        Planned: {
            id: string;
            created_at: string;
            label?: string;
            keep: boolean;
            because?: string[];
            own_bytes?: number;
        };
        Port: {
            host: string;
            guest: unknown;
            proto: string;
            problem?: string;
        };
        PortList: {
            vm: string;
            ports: components["schemas"]["Port"][];
        };
        PortsRequest: {
            /** @description as docker's -p has them: [[ADDRESS:]HOST:]GUEST[/udp]; without HOST, any that is free */
            ports: string[];
        };
        Problem: {
            /** @description urn:noid:error: and the kind */
            type: string;
            title: string;
            status: number;
            /** @description what went wrong, with the names of things */
            detail: string;
            /**
             * @description the kind of error; noid's exit codes tell the same ones
             * @enum {string}
             */
            kind: "usage" | "not_found" | "exists" | "busy" | "state" | "timeout" | "host" | "failed" | "interrupted" | "forbidden";
            /** @description the cure */
            hint?: string;
        };
        Process: {
            pid: number;
            start: number;
            uid: number;
            command: string;
        };
        ProcessChange: {
            before?: components["schemas"]["Process"];
            after?: components["schemas"]["Process"];
        };
        Progress: {
            message: string;
            /** @description of total, or so many */
            done?: number;
            total?: number;
        };
        PruneRequest: {
            /** @description the newest so many */
            keep_last?: number;
            /** @description the newest of each of the last so many hours that have one */
            keep_hourly?: number;
            keep_daily?: number;
            keep_weekly?: number;
            keep_monthly?: number;
            keep_yearly?: number;
            /** @description those with one of these labels, automatic ones too */
            keep_labels?: string[];
            /** @description all that are younger than the newest by so many seconds */
            within_s?: number;
            /** @description the oldest go until the others have no more bytes of their own */
            max_bytes?: number;
            /** @description say what would go, and remove nothing */
            dry_run?: boolean;
        };
        Pruned: {
            checkpoints: components["schemas"]["Planned"][];
        };
        PullRequest: {
            /** @description its name, such as python:3.13 */
            ref: string;
        };
        RenameFileRequest: {
            from: string;
            /** @description a file that is there is replaced */
            to: string;
        };
        RenameRequest: {
            name: string;
        };
        RestoreRequest: {
            /** @description make a new VM of this name; without it the VM itself is put back */
            as?: string;
            /** @description boot its disk, and leave its memory */
            disk_only?: boolean;
            /** @description do not keep what is there as a checkpoint first */
            no_backup?: boolean;
            /** @description a new VM keeps hostname and machine-id */
            keep_identity?: boolean;
            /** @description of a new VM */
            ports?: string[];
            /** @description of a new VM */
            secrets?: string[];
        };
        Restored: {
            vm: string;
            /** @description the checkpoint of what was there before */
            kept?: string;
        };
        RulesRequest: {
            /** @description ADDRESS, CIDR, DOMAIN, *.DOMAIN or *, perhaps with :PORT: nothing else may be reached then */
            allow?: string[];
            /** @description what may not be reached; these win */
            deny?: string[];
            /** @description rules to take back */
            remove?: string[];
        };
        RulesSet: {
            vm: string;
            /** @description how many connections they have cut */
            cut: number;
            closed: boolean;
            opened: boolean;
        };
        RunRequest: {
            /** @description a line for sh -c */
            command?: string;
            /** @description instead of command: a program and its arguments, without a shell */
            argv?: string[];
            /** @description directory to run in */
            dir?: string;
            /** @description variables of its environment */
            env?: {
                [key: string]: string;
            };
            /** @description USER[:GROUP] to run as */
            user?: string;
            /** @description its standard input */
            input?: string;
            /** @description end it after so many seconds, such as 0.5; 0 for never */
            timeout_s?: number;
            /** @description instead of input: bytes, in base64 */
            input_base64?: string;
            /** @description bytes of each of stdout and stderr that the answer has, 65536 if 0: as many of its beginning as of its end */
            max_output?: number;
            /** @description a container image; empty for the user's default */
            image?: string;
            /** @description instead of an image: NAME@ID, of which the VM is a clone */
            checkpoint?: string;
            cpus?: number;
            mem_mib?: number;
            /** @description none, default (the internet, not this machine or its network) or a profile that the user has made */
            net?: string;
            /** @description rules of what it may reach, and nothing else */
            allow?: string[];
            /** @description rules of what it may not reach */
            deny?: string[];
            /** @description ports that lead to the guest, as docker's -p has them: HOST:GUEST, or GUEST for any that is free */
            ports?: string[];
            /** @description names of secrets that it may use */
            secrets?: string[];
        };
        Secret: {
            name: string;
            hosts: string[];
            header: string;
            allow: string[];
            body: boolean;
            placeholder: string;
            where: string;
            command?: string;
            /** Format: date-time */
            set: string;
        };
        SecretList: {
            secrets: components["schemas"]["Secret"][];
        };
        SecretUse: {
            vm: string;
            secret: string;
        };
        SocketControl: {
            /** @enum {string} */
            type: "resize" | "signal" | "eof";
            cols?: number;
            rows?: number;
            /** @description by name or number */
            signal?: string;
        };
        SocketEnd: {
            /** @enum {string} */
            type: "exit" | "error";
            /** @description of the type exit */
            exit_code?: number;
            signal?: string;
            timed_out?: boolean;
            /** @description why it could not run */
            error?: string;
            /** @description of the type error */
            problem?: components["schemas"]["Problem"];
        };
        SocketStart: {
            /** @enum {string} */
            type: "start";
            /** @description a line for sh -c */
            command?: string;
            /** @description instead of command: a program and its arguments, without a shell */
            argv?: string[];
            /** @description directory to run in */
            dir?: string;
            /** @description variables of its environment */
            env?: {
                [key: string]: string;
            };
            /** @description USER[:GROUP] to run as */
            user?: string;
            /** @description its standard input */
            input?: string;
            /** @description end it after so many seconds, such as 0.5; 0 for never */
            timeout_s?: number;
            /** @description in a throw-away clone of the VM: as its checkpoint of this id or label has it, or now */
            at?: string;
            turn?: string;
            /** @description it gets a terminal; a shell always does */
            tty?: boolean;
            /** @description of the terminal */
            cols?: number;
            rows?: number;
            /** @description its TERM */
            term?: string;
            /** @description it reads nothing */
            no_stdin?: boolean;
        };
        State: {
            pid: number;
            /** Format: date-time */
            since: string;
            memory: number;
            flows: number;
            sent: number;
            got: number;
            refused: number;
            ping: boolean;
            ipv6: boolean;
        };
        StopRequest: {
            /** @description kill it, without asking its guest */
            force?: boolean;
        };
        TravelRequest: {
            /** @description how many changes; 1 if 0 */
            n?: number;
        };
        TryRequest: {
            /** @description a line for sh -c */
            command?: string;
            /** @description instead of command: a program and its arguments, without a shell */
            argv?: string[];
            /** @description directory to run in */
            dir?: string;
            /** @description variables of its environment */
            env?: {
                [key: string]: string;
            };
            /** @description USER[:GROUP] to run as */
            user?: string;
            /** @description its standard input */
            input?: string;
            /** @description end it after so many seconds, such as 0.5; 0 for never */
            timeout_s?: number;
            /** @description instead of input: bytes, in base64 */
            input_base64?: string;
            /** @description bytes of each of stdout and stderr that the answer has, 65536 if 0: as many of its beginning as of its end */
            max_output?: number;
            /** @description go back even when it succeeds */
            always?: boolean;
        };
        Undone: {
            vm: string;
            to: string;
            kept?: string;
        };
        Usage: {
            vms: components["schemas"]["VMUsage"][];
            images?: components["schemas"]["Occupied"];
            kernels?: components["schemas"]["Occupied"];
            templates?: components["schemas"]["Occupied"];
            other?: components["schemas"]["Occupied"];
            total_bytes: number;
        };
        VM: {
            name: string;
            state: string;
            pid?: number;
            cpus: number;
            mem_mib: number;
            driver: string;
            created_at: string;
            error?: string;
            paused_because?: string;
        };
        VMList: {
            vms: components["schemas"]["VM"][];
        };
        VMUsage: {
            name: string;
            own_bytes: number;
            shared_bytes: number;
            checkpoints: number;
            of_checkpoints: components["schemas"]["Occupied"];
            total_bytes: number;
        };
        Variant: {
            variant: number;
            command: string;
            exit_code: number;
            timed_out?: boolean;
            seconds: number;
            score?: string;
            changes?: number;
            checkpoint?: string;
            output: string;
            error?: string;
        };
        VariantBegun: {
            variant: number;
            command: string;
        };
        Version: {
            /** @description noid's */
            version: string;
            /** @enum {string} */
            api: "v1";
            /** @description another one for each server: one that has ended took the answers of its Idempotency-Keys along */
            instance: string;
        };
        Warning: {
            text: string;
        };
    };
    responses: {
        /** @description Bad Request */
        400: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Unauthorized */
        401: {
            headers: {
                /** @description the scheme */
                "WWW-Authenticate"?: string;
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Forbidden */
        403: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Not Found */
        404: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Method Not Allowed */
        405: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Conflict */
        409: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Request Entity Too Large */
        413: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Unsupported Media Type */
        415: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Requested Range Not Satisfiable */
        416: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Misdirected Request */
        421: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Unprocessable Entity */
        422: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Upgrade Required */
        426: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Too Many Requests */
        429: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Internal Server Error */
        500: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Bad Gateway */
        502: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Service Unavailable */
        503: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Gateway Timeout */
        504: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Insufficient Storage */
        507: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
    };
    parameters: {
        /** @description the same key and request get the same answer, for an hour */
        IdempotencyKey: string;
    };
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    diff: {
        parameters: {
            query: {
                /** @description a VM, NAME@ID, NAME@now or an image. A VM alone is compared with its last checkpoint */
                from: string;
                to?: string;
                /** @description these and what is below them */
                path?: string[];
                /** @description the lines that differ, of texts */
                patch?: boolean;
                /** @description also what changes by itself: /run, /tmp, logs */
                all?: boolean;
                /** @description processes, and no files */
                processes?: boolean;
                /** @description packages of dpkg, apk, pip and npm too */
                packages?: boolean;
                /** @description how many files to list; 1000 if 0 */
                max?: number;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done; or events: and at the end result or error */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["DiffResult"];
                    "text/event-stream": string;
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            429: components["responses"]["429"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    du: {
        parameters: {
            query?: {
                /** @description of these VMs and their checkpoints; without one, of all the home */
                vm?: string[];
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Usage"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    events: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/event-stream": unknown;
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            429: components["responses"]["429"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    images: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ImageList"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    pull: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "ref": "python:3.13"
                 *     }
                 */
                "application/json": components["schemas"]["PullRequest"];
            };
        };
        responses: {
            /** @description done; or events: progress, warning, and at the end result or error */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Image"];
                    "text/event-stream": string;
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            413: components["responses"]["413"];
            415: components["responses"]["415"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            429: components["responses"]["429"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    remove_image: {
        parameters: {
            query: {
                /** @description its name, such as python:3.13, or its digest */
                ref: string;
            };
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ImageGone"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    inspect_image: {
        parameters: {
            query: {
                /** @description its name, such as python:3.13, or its digest */
                ref: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Image"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    run: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "image": "python:3.13",
                 *       "argv": [
                 *         "python",
                 *         "-c",
                 *         "print(1)"
                 *       ]
                 *     }
                 */
                "application/json": components["schemas"]["RunRequest"];
            };
        };
        responses: {
            /** @description done; or events: progress, warning, and output: the pieces of stdout and stderr as they come, and at the end result or error */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ExecResult"];
                    "text/event-stream": string;
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            413: components["responses"]["413"];
            415: components["responses"]["415"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            429: components["responses"]["429"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    secrets: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["SecretList"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    version: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Version"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    list: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["VMList"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    create: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "dev",
                 *       "image": "python:3.13",
                 *       "mem_mib": 1024,
                 *       "auto": "exec"
                 *     }
                 */
                "application/json": components["schemas"]["CreateRequest"];
            };
        };
        responses: {
            /** @description events: progress, and at the end result or error */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/event-stream": string;
                };
            };
            /** @description done */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["VM"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            413: components["responses"]["413"];
            415: components["responses"]["415"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            429: components["responses"]["429"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    inspect: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Details"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    destroy: {
        parameters: {
            query?: {
                /** @description its checkpoints too; else they stay, and can be restored */
                checkpoints?: boolean;
            };
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Destroyed"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    auto: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "when": "exec"
                 *     }
                 */
                "application/json": components["schemas"]["AutoRequest"];
            };
        };
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Done"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            413: components["responses"]["413"];
            415: components["responses"]["415"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    checkpoints: {
        parameters: {
            query?: {
                /** @description with what they take of the disk */
                size?: boolean;
            };
            header?: never;
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["CheckpointList"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    checkpoint: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "label": "before the upgrade"
                 *     }
                 */
                "application/json": components["schemas"]["CheckpointRequest"];
            };
        };
        responses: {
            /** @description done */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Checkpoint"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            413: components["responses"]["413"];
            415: components["responses"]["415"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    forget: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
                /** @description its id, the beginning of that, or its label */
                checkpoint: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["CheckpointRef"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    pin: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
                /** @description its id, the beginning of that, or its label */
                checkpoint: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["CheckpointRef"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    unpin: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
                /** @description its id, the beginning of that, or its label */
                checkpoint: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["CheckpointRef"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    restore: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
                /** @description its id, the beginning of that, or its label */
                checkpoint: string;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "as": "copy"
                 *     }
                 */
                "application/json": components["schemas"]["RestoreRequest"];
            };
        };
        responses: {
            /** @description done; or events: and at the end result or error */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Restored"];
                    "text/event-stream": string;
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            413: components["responses"]["413"];
            415: components["responses"]["415"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            429: components["responses"]["429"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    console_socket: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description the WebSocket */
            101: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            426: components["responses"]["426"];
            429: components["responses"]["429"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    exec_socket: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description the WebSocket */
            101: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            426: components["responses"]["426"];
            429: components["responses"]["429"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    exec: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "argv": [
                 *         "uname",
                 *         "-a"
                 *       ]
                 *     }
                 */
                "application/json": components["schemas"]["ExecRequest"];
            };
        };
        responses: {
            /** @description done; or events: progress, warning, and output: the pieces of stdout and stderr as they come, and at the end result or error */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ExecResult"];
                    "text/event-stream": string;
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            413: components["responses"]["413"];
            415: components["responses"]["415"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            429: components["responses"]["429"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    explore: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "commands": [
                 *         "make test SEED=1",
                 *         "make test SEED=2"
                 *       ],
                 *       "jobs": 2
                 *     }
                 */
                "application/json": components["schemas"]["ExploreRequest"];
            };
        };
        responses: {
            /** @description done; or events: variant_begun, variant, warning, and at the end result or error */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Explored"];
                    "text/event-stream": string;
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            413: components["responses"]["413"];
            415: components["responses"]["415"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            429: components["responses"]["429"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    read_file: {
        parameters: {
            query: {
                /** @description an absolute path in the guest */
                path: string;
                /** @description in a throw-away clone of the VM: as its checkpoint of this id or label has it, or now */
                at?: string;
            };
            header?: never;
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/octet-stream": unknown;
                };
            };
            /** @description a part of it */
            206: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/octet-stream": unknown;
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            416: components["responses"]["416"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            429: components["responses"]["429"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    write_file: {
        parameters: {
            query: {
                /** @description an absolute path in the guest */
                path: string;
                /** @description of a new file, in octal; 644 without it */
                mode?: string;
            };
            header?: never;
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/octet-stream": unknown;
            };
        };
        responses: {
            /** @description done */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    remove_file: {
        parameters: {
            query: {
                /** @description an absolute path in the guest */
                path: string;
                /** @description a directory with what is in it */
                recursive?: boolean;
            };
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["FileDone"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    list_files: {
        parameters: {
            query: {
                /** @description an absolute path in the guest */
                path: string;
                /** @description in a throw-away clone of the VM: as its checkpoint of this id or label has it, or now */
                at?: string;
                /** @description how many files at most; 10000 if 0 */
                max?: number;
            };
            header?: never;
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["FileList"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    make_dir: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "path": "/srv/a/b",
                 *       "parents": true
                 *     }
                 */
                "application/json": components["schemas"]["DirRequest"];
            };
        };
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["FileDone"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            413: components["responses"]["413"];
            415: components["responses"]["415"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    rename_file: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "from": "/tmp/new",
                 *       "to": "/srv/app"
                 *     }
                 */
                "application/json": components["schemas"]["RenameFileRequest"];
            };
        };
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["FileDone"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            413: components["responses"]["413"];
            415: components["responses"]["415"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    stat_file: {
        parameters: {
            query: {
                /** @description an absolute path in the guest */
                path: string;
                /** @description in a throw-away clone of the VM: as its checkpoint of this id or label has it, or now */
                at?: string;
            };
            header?: never;
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["GuestFile"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    read_tar: {
        parameters: {
            query: {
                /** @description an absolute path in the guest */
                path: string;
                /** @description in a throw-away clone of the VM: as its checkpoint of this id or label has it, or now */
                at?: string;
                /** @description extended attributes too */
                owners?: boolean;
            };
            header?: never;
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/x-tar": unknown;
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            429: components["responses"]["429"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    write_tar: {
        parameters: {
            query: {
                /** @description an absolute path in the guest */
                path: string;
                /** @description keep owners, set-uid bits and extended attributes */
                owners?: boolean;
            };
            header?: never;
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/x-tar": unknown;
            };
        };
        responses: {
            /** @description done */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    fork: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "n": 4
                 *     }
                 */
                "application/json": components["schemas"]["ForkRequest"];
            };
        };
        responses: {
            /** @description done; or events: progress, warning, and at the end result or error */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Forked"];
                    "text/event-stream": string;
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            413: components["responses"]["413"];
            415: components["responses"]["415"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            429: components["responses"]["429"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    history: {
        parameters: {
            query?: {
                /** @description the newest so many; all if 0 */
                max?: number;
                /** @description with what each takes of the disk */
                size?: boolean;
            };
            header?: never;
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["History"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    jobs: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["JobList"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    kill: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
                /** @description its id, or the beginning of that */
                job: string;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "signal": "INT"
                 *     }
                 */
                "application/json": components["schemas"]["KillRequest"];
            };
        };
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Killed"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            413: components["responses"]["413"];
            415: components["responses"]["415"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    keep: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "variant": 2
                 *     }
                 */
                "application/json": components["schemas"]["KeepRequest"];
            };
        };
        responses: {
            /** @description done; or events: and at the end result or error */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Undone"];
                    "text/event-stream": string;
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            413: components["responses"]["413"];
            415: components["responses"]["415"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            429: components["responses"]["429"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    logs: {
        parameters: {
            query?: {
                /** @description the VMM's own, not the console's */
                vmm?: boolean;
                /** @description so many lines of its end; all if 0 */
                last?: number;
                /** @description go on as more is written */
                follow?: boolean;
            };
            header?: never;
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/octet-stream": unknown;
                };
            };
            /** @description a part of it */
            206: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/octet-stream": unknown;
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            416: components["responses"]["416"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            429: components["responses"]["429"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    net: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Network"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    net_log: {
        parameters: {
            query?: {
                /** @description so many lines of its end; all if 0 */
                last?: number;
                /** @description go on as more is written */
                follow?: boolean;
            };
            header?: never;
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/x-ndjson": unknown;
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            429: components["responses"]["429"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    set_rules: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "allow": [
                 *         "api.github.com:443"
                 *       ]
                 *     }
                 */
                "application/json": components["schemas"]["RulesRequest"];
            };
        };
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["RulesSet"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            413: components["responses"]["413"];
            415: components["responses"]["415"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    pause: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Done"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    ports: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PortList"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    add_ports: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "ports": [
                 *         "8080:80"
                 *       ]
                 *     }
                 */
                "application/json": components["schemas"]["PortsRequest"];
            };
        };
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PortList"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            413: components["responses"]["413"];
            415: components["responses"]["415"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    remove_port: {
        parameters: {
            query: {
                /** @description as docker's -p has it */
                port: string;
            };
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PortList"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    prune: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "keep_last": 10,
                 *       "keep_daily": 7
                 *     }
                 */
                "application/json": components["schemas"]["PruneRequest"];
            };
        };
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Pruned"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            413: components["responses"]["413"];
            415: components["responses"]["415"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    redo: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "n": 1
                 *     }
                 */
                "application/json": components["schemas"]["TravelRequest"];
            };
        };
        responses: {
            /** @description done; or events: and at the end result or error */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Undone"];
                    "text/event-stream": string;
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            413: components["responses"]["413"];
            415: components["responses"]["415"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            429: components["responses"]["429"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    rename: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "prod"
                 *     }
                 */
                "application/json": components["schemas"]["RenameRequest"];
            };
        };
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Done"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            413: components["responses"]["413"];
            415: components["responses"]["415"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    resume: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Done"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    grant_secret: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
                /** @description its name */
                secret: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["SecretUse"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    revoke_secret: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
                /** @description its name */
                secret: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["SecretUse"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    shell_socket: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description the WebSocket */
            101: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            426: components["responses"]["426"];
            429: components["responses"]["429"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    start: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Done"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    stop: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /** @example {} */
                "application/json": components["schemas"]["StopRequest"];
            };
        };
        responses: {
            /** @description done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Done"];
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            413: components["responses"]["413"];
            415: components["responses"]["415"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    try: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "command": "apt-get install -y nginx",
                 *       "timeout_s": 600
                 *     }
                 */
                "application/json": components["schemas"]["TryRequest"];
            };
        };
        responses: {
            /** @description done; or events: progress, warning, and output: the pieces of stdout and stderr as they come, and at the end result or error */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ExecResult"];
                    "text/event-stream": string;
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            413: components["responses"]["413"];
            415: components["responses"]["415"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            429: components["responses"]["429"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
    undo: {
        parameters: {
            query?: never;
            header?: {
                /** @description the same key and request get the same answer, for an hour */
                "Idempotency-Key"?: components["parameters"]["IdempotencyKey"];
            };
            path: {
                /** @description the VM's name */
                vm: string;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "n": 1
                 *     }
                 */
                "application/json": components["schemas"]["TravelRequest"];
            };
        };
        responses: {
            /** @description done; or events: and at the end result or error */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Undone"];
                    "text/event-stream": string;
                };
            };
            400: components["responses"]["400"];
            401: components["responses"]["401"];
            403: components["responses"]["403"];
            404: components["responses"]["404"];
            409: components["responses"]["409"];
            413: components["responses"]["413"];
            415: components["responses"]["415"];
            421: components["responses"]["421"];
            422: components["responses"]["422"];
            429: components["responses"]["429"];
            500: components["responses"]["500"];
            502: components["responses"]["502"];
            503: components["responses"]["503"];
            504: components["responses"]["504"];
            507: components["responses"]["507"];
        };
    };
}
