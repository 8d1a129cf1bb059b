#!/usr/bin/env python3
"""Compares the modules with a real AnsibleModule of the same options: messages, coerced args, warnings, deprecations.

    run.py EXECUTABLE [OPTIONS]        with a Python that has ansible-core

EXECUTABLE is the modules' own; OPTIONS is `examples/options.rs`, built: what cargo put beside EXECUTABLE, if not given.

What differs on purpose, because a user is better off, is not among the cases:
- An option set to null is as if not given, so that `{{ x | default(none) }}` leaves it out. AnsibleModule counts it as given, or
  refuses it in the words of its type. (NULLS compares it with what AnsibleModule says where it is left out.)
- An `_ansible_` key that is not known is no unknown option: a later ansible-core sends more of them.
- An empty DOCKER_HOST is none, as for the docker client.
- A secret is hidden in warnings too, and once more as its type has it: a password `true` is `True`.
- `invocation` has each option under its own name only. Not the unknown ones: a misspelt `jmx_pasword` would show its value.
- Text is a dict as JSON or as `k=v`, not as Python writes it; `inf` and `nan` are no numbers, nor is what has more than 64 bits.
- What is checked beyond the types (tags, names, paths, modes, ports, seconds) has words of its own.
"""
import json
import os
import subprocess
import sys
import tempfile

import ansible.release
from cases import MODULES, NULLS, RULES, TOGETHER, VALUES, WITH_ENVIRONMENT
from older import in_todays_words, is_known

HERE = os.path.dirname(os.path.abspath(__file__))
# Accepted args would be acted on: in check mode, and with no Engine to ask, nothing can happen.
ENVIRONMENT = {"HOME": "/home/op", "PATH": os.environ["PATH"], "DOCKER_HOST": "unix:///nonexistent/docker.sock"}
MADE_UP = ("types", "rules")
VERSION = tuple(int(number) for number in ansible.release.__version__.split(".")[:2])


def cases(specs):
    """Each with its spec, our args, AnsibleModule's args and the environment."""
    options = specs["types"]["argument_spec"].items()
    open_options = [name for name, option in options if not option["no_log"]]
    one_by_one = [("types", {name: value}) for name in open_options for value in VALUES]
    same = MODULES + one_by_one + [("types", args) for args in TOGETHER] + [("rules", args) for args in RULES]
    yield from ((spec, args, args, {}) for spec, args in same)
    yield from (("types", args, args, env) for env, args in WITH_ENVIRONMENT)
    for spec, args in NULLS:
        yield spec, args, {name: value for name, value in args.items() if value is not None}, {}


def theirs(specs, all_cases):
    asked = [
        {"spec": spec, "args": dict({"_ansible_module_name": spec}, **args), "env": dict(ENVIRONMENT, **env)}
        for spec, _, args, env in all_cases
    ]
    command = [sys.executable, os.path.join(HERE, "module.py")]
    return run(command, {"specs": specs, "cases": asked})


def ours(executable, options, all_cases):
    made_up = [case for case in all_cases if case[0] in MADE_UP]
    asked = [{"spec": spec, "args": args, "env": dict(ENVIRONMENT, **env)} for spec, args, _, env in made_up]
    checked = iter(run([options, "check"], asked))
    return [next(checked) if case[0] in MADE_UP else run_module(executable, *case[:2]) for case in all_cases]


def run(command, given):
    output = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=False)
    if output.returncode:
        sys.exit(f"{command}: {output.stderr}")
    return json.loads(output.stdout)


def run_module(executable, module, args):
    # As the task would name it; without this the executable goes by its own file name.
    args = dict({"_ansible_module_name": module, "_ansible_check_mode": True, "_ansible_keep_remote_files": True}, **args)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(args, file)
        file.flush()
        output = subprocess.run([executable, file.name], capture_output=True, text=True, env=ENVIRONMENT, check=False)
    return json.loads(output.stdout)


def comparable(result, names):
    """What both should say. The words of a bad boolean come from Python in an order that changes with every run."""
    refused = result.get("failed") and result.get("error", "bad_option") == "bad_option"
    message = result.get("msg", "") if refused else None
    if message:
        head, words, tail = message.partition("Valid booleans include: ")
        message = head + words + ", ".join(sorted(tail.split(", ")))
        message = in_todays_words(message)
    args = result.get("invocation", {}).get("module_args", {})
    return {
        "msg": message,
        "args": {name: value for name, value in args.items() if name in names},
        "warnings": [in_brief(warning) for warning in result.get("warnings", [])],
        "deprecations": [
            [in_brief(gone), gone["version"], gone.get("collection_name") or gone["deprecator"]["resolved_name"]]
            for gone in result.get("deprecations", [])
        ],
    }


def in_brief(warning):
    return warning if isinstance(warning, str) else warning.get("msg") or warning["event"]["msg"]


def main():
    executable = os.path.abspath(sys.argv[1])
    options = sys.argv[2] if sys.argv[2:] else os.path.join(os.path.dirname(executable), "examples", "options")
    specs = json.loads(subprocess.check_output([options, "specs"]))
    all_cases = list(cases(specs))
    equal = known = 0
    for case, our, their in zip(all_cases, ours(executable, options, all_cases), theirs(specs, all_cases)):
        spec, args, _, env = case
        names = specs[spec]["argument_spec"]
        our, their = comparable(our, names), comparable(their, names)
        # As JSON, because for Python `True == 1 == 1.0`.
        if json.dumps(our, sort_keys=True) == json.dumps(their, sort_keys=True):
            equal += 1
        elif is_known(VERSION, args, their["msg"], our["msg"]):
            known += 1
        else:
            print(f"{spec} {json.dumps(args)} {env or ''}")
            for key in our:
                if our[key] != their[key]:
                    print(f"  {key}\n    AnsibleModule: {their[key]}\n    ours:          {our[key]}")
    count = len(all_cases)
    print(f"ansible-core {ansible.release.__version__}: {equal} of {count} cases are equal, {known} known to differ in that version")
    sys.exit(0 if equal + known == count else 1)


if __name__ == "__main__":
    main()
