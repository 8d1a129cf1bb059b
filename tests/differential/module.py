#!/usr/bin/python
"""What AnsibleModule makes of args: the options of a sidecar, and the rules that a sidecar cannot say."""
import json
import os
import sys

import yaml
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args

PASSWORD = ("jmx_password", "jmx_password_file")
RULES = {
    "cassandra_backup": {
        "mutually_exclusive": [("keyspaces", "exclude_keyspaces"), PASSWORD],
        "required_if": [("state", "present", ("container",)), ("state", "absent", ("tag",))],
    },
    "cassandra_restore": {
        "mutually_exclusive": [("src", "tag"), PASSWORD],
        "required_if": [
            ("state", state, ("src", "tag"), True)
            for state in ("staged", "swapped", "started", "restored")
        ],
    },
    "cassandra_backup_info": {"mutually_exclusive": [PASSWORD]},
}
FACTS = ("type", "default", "choices", "aliases", "required", "elements")


def main():
    library, module, args_file = sys.argv[1:]
    with open(os.path.join(library, module + ".yml"), encoding="utf-8") as sidecar:
        options = yaml.safe_load(sidecar)["DOCUMENTATION"]["options"]
    spec = {name: {fact: option[fact] for fact in FACTS if fact in option} for name, option in options.items()}
    spec["jmx_password"]["no_log"] = True
    spec["jmx_password_file"]["no_log"] = False
    spec["docker_host"]["fallback"] = (basic.env_fallback, ["DOCKER_HOST"])
    with open(args_file, encoding="utf-8") as file:
        args = json.load(file)
    with patch_module_args(dict(args, _ansible_module_name=module)):
        checked = basic.AnsibleModule(spec, supports_check_mode=True, **RULES[module])
        checked.exit_json()


main()
