#!/usr/bin/env python3
"""What a real AnsibleModule makes of args: specs and cases on stdin, a list of results on stdout."""
import contextlib
import copy
import io
import json
import os
import sys

from ansible.module_utils import basic
from ansible.module_utils.common import parameters, warnings

try:
    from ansible.module_utils.testing import patch_module_args
except ImportError:  # before ansible-core 2.19
    @contextlib.contextmanager
    def patch_module_args(args):
        basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": args}).encode()
        yield


def result_of(spec, args, env):
    spec = copy.deepcopy(spec)
    for option in spec["argument_spec"].values():
        if "fallback" in option:
            option["fallback"] = (basic.env_fallback, [option["fallback"]])
    if "inject_invocation" in parameters.PASS_VARS:  # from ansible-core 2.21 on it has to be asked for
        args = dict({"_ansible_inject_invocation": True}, **args)
    os.environ.clear()
    os.environ.update(env)
    # A module is a process: these two are all that one leaves for the next in here.
    warnings._global_warnings.clear()
    warnings._global_deprecations.clear()
    with patch_module_args(args), contextlib.redirect_stdout(io.StringIO()) as output, contextlib.suppress(SystemExit):
        try:
            basic.AnsibleModule(supports_check_mode=True, **spec).exit_json()
        except Exception as crash:  # in a playbook: a traceback
            return {"failed": True, "msg": f"{type(crash).__name__}: {crash}"}
    return json.loads(output.getvalue())


def main():
    given = json.load(sys.stdin)
    results = [result_of(given["specs"][case["spec"]], case["args"], case["env"]) for case in given["cases"]]
    json.dump(results, sys.stdout)


main()
