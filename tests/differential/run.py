#!/usr/bin/env python3
"""Compares the executable with a real AnsibleModule of the same options: messages, coerced args, warnings.

    run.py EXECUTABLE        with a Python that has ansible-core, 2.19 or later

Not compared, because they differ on purpose: an option set to null is as if not given (AnsibleModule coerces it, or
counts it as given), an unknown `_ansible_` key is accepted, an empty DOCKER_HOST is none, and what is checked beyond
the types (tags, names, paths, modes, ports, seconds) has words of its own.
"""
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
LIBRARY = os.path.join(HERE, "..", "..", "library")
B, R, I = "cassandra_backup", "cassandra_restore", "cassandra_backup_info"
CASES = [
    (B, {}),
    (B, {"container": "c"}),
    (B, {"container_name": "c", "name": "t"}),
    (B, {"container": "c", "container_name": "d"}),
    (B, {"container": "c", "foo": 1}),
    (B, {"container": "c", "foo": 1, "bar": None, "a b": []}),
    (B, {"foo": 1}),
    (B, {"container": "c", "foo": 1, "_ansible_ignore_unknown_opts": True}),
    (B, {"container": "c", "state": "x", "foo": 1}),
    (B, {"container": "c", "state": "Present"}),
    (B, {"container": "c", "state": True}),
    (B, {"container": "c", "state": ["present"]}),
    (B, {"state": "absent"}),
    (B, {"state": "absent", "tag": "t"}),
    (B, {"state": "absent", "name": "t", "tag": "u"}),
    (B, {"container": "c", "compression": "None"}),
    (B, {"container": "c", "compression": ""}),
    (B, {"container": "c", "force": "maybe"}),
    (B, {"container": "c", "force": "True "}),
    (B, {"container": "c", "force": 1}),
    (B, {"container": "c", "force": 2}),
    (B, {"container": "c", "force": 0.5}),
    (B, {"container": "c", "force": "", "verify": "x"}),
    (B, {"container": "c", "force": []}),
    (B, {"container": "c", "force": {"a": 1}}),
    (B, {"container": "c", "wait_timeout": "30", "stop_timeout": "1e2"}),
    (B, {"container": "c", "wait_timeout": "soon"}),
    (B, {"container": "c", "wait_timeout": "it's"}),
    (B, {"container": "c", "wait_timeout": ""}),
    (B, {"container": "c", "wait_timeout": "3.0", "stop_timeout": " 1_0 "}),
    (B, {"container": "c", "wait_timeout": "3.5"}),
    (B, {"container": "c", "wait_timeout": 3.5}),
    (B, {"container": "c", "wait_timeout": 3.0}),
    (B, {"container": "c", "wait_timeout": ["a"]}),
    (B, {"container": "c", "wait_timeout": {"a": None, "b": "x\ny"}}),
    (B, {"container": "c", "wait_timeout": "nan"}),
    (B, {"container": "c", "keyspaces": "a,b", "nodetool_flags": ["-x", 1, True, 2.5]}),
    (B, {"container": "c", "keyspaces": ""}),
    (B, {"container": "c", "keyspaces": 7}),
    (B, {"container": "c", "keyspaces": {"a": 1}}),
    (B, {"container": "c", "keyspaces": ["a"], "exclude_keyspaces": ["b"]}),
    (B, {"container": "c", "keyspaces": ["a"], "exclude_keyspaces": [], "jmx_password": "x", "jmx_password_file": "/y"}),
    (B, {"container": 7, "tag": 20261122, "owner": 1000, "group": 1.5, "mode": 384}),
    (B, {"container": "c", "owner": ["a", None, {"b": "it's"}], "group": {"x": 1.5}}),
    (B, {"container": "c", "mode": "0640", "backup_dir": "~/backup", "state_dir": "$HOME/${NOPE}/x"}),
    (B, {"container": "c", "jmx_port": "x", "force": "x", "state": "x"}),
    (B, {"container": "c", "jmx_password": "s3cret", "state": "s3cret"}),
    (B, {"container": "c", "jmx_password": "s3cret", "state": "a-s3cret-b"}),
    (B, {"container": "c", "jmx_password": 42, "state": "4242"}),
    (B, {"container": "c", "jmx_password": "e", "state": "yes"}),
    (B, {"container": "c", "jmx_password": ""}),
    (R, {}),
    (R, {"foo": 1}),
    (R, {"container": "c"}),
    (R, {"container": "c", "name": "t"}),
    (R, {"container": "c", "tag": "t"}),
    (R, {"container": "c", "tag": "t", "foo": 1}),
    (R, {"container": "c", "src": "/a", "tag": "t"}),
    (R, {"src": "/a", "tag": "t"}),
    (R, {"container": "c", "state": "staged"}),
    (R, {"container": "c", "state": "rolled_back"}),
    (R, {"container": "c", "state": "rolledback"}),
    (R, {"container": "c", "tag": "t", "repair": False}),
    (I, {}),
    (I, {"foo": 1}),
    (I, {"verify": "yes", "tag": "t"}),
    (I, {"jmx_password": "x", "jmx_password_file": "/y"}),
]


def run(command, args):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(dict(args, _ansible_check_mode=True), file)
        file.flush()
        # Accepted args would be acted on: in check mode, and with no Engine to ask, nothing can happen.
        env = {"HOME": "/home/op", "PATH": os.environ["PATH"], "DOCKER_HOST": "unix:///nonexistent/docker.sock"}
        output = subprocess.run(command + [file.name], capture_output=True, text=True, env=env, check=False)
    if not output.stdout.strip():
        return {"msg": output.stderr}
    return json.loads(output.stdout)


def comparable(result):
    """What both should say. The words of a bad boolean come from Python in an order that changes with every run."""
    refused = result.get("failed") and result.get("error", "bad_option") == "bad_option"
    message = result.get("msg", "") if refused else None
    if message:
        head, words, tail = message.partition("Valid booleans include: ")
        message = head + words + ", ".join(sorted(tail.split(", ")))
    warnings = [w if isinstance(w, str) else w["event"]["msg"] for w in result.get("warnings", [])]
    return {"msg": message, "args": None if message else result["invocation"]["module_args"], "warnings": warnings}


def without_aliases(args, ours):
    return args and {key: value for key, value in args.items() if key in ours}


def main():
    executable = os.path.abspath(sys.argv[1])
    different = 0
    for module, args in CASES:
        theirs = comparable(run([sys.executable, os.path.join(HERE, "module.py"), LIBRARY, module], args))
        # As the task would name it; without this the executable goes by its own file name.
        ours = comparable(run([executable], dict(args, _ansible_module_name=module, _ansible_keep_remote_files=True)))
        theirs["args"] = without_aliases(theirs["args"], ours["args"] or {})
        if ours != theirs:
            different += 1
            print(f"{module} {json.dumps(args)}\n  AnsibleModule: {theirs}\n  executable:    {ours}")
    print(f"{len(CASES) - different} of {len(CASES)} cases are equal")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
