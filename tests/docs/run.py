#!/usr/bin/env python3
"""Renders the docs of library/ with the real ansible-doc, beside a built executable as they are beside one in use.

    run.py EXECUTABLE        with ansible-doc of an ansible-core on PATH
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import yaml

LIBRARY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "library")
MODULES = ("cassandra_backup", "cassandra_restore", "cassandra_backup_info")


def ansible_doc(library, *arguments):
    """What it prints; it must not say anything beside."""
    output = subprocess.run(["ansible-doc", "-M", library, *arguments], capture_output=True, text=True, check=False)
    if output.returncode or output.stderr:
        sys.exit(f"ansible-doc {' '.join(arguments)} ends with {output.returncode}: {output.stderr}")
    return output.stdout


def documented(module):
    with open(os.path.join(LIBRARY, module + ".yml"), encoding="utf-8") as sidecar:
        return yaml.safe_load(sidecar)


def keys_of(values):
    """Names with those below them."""
    for name, value in values.items():
        yield name
        yield from keys_of(value.get("contains", {}))


def check(names, text, what):
    # A line begins with the name, and what marks it bold, required or a part of another one.
    missing = [name for name in names if not re.search(rf"^[^a-z]*(\x1b\[\dm)?{name}\W", text, re.MULTILINE)]
    if missing:
        sys.exit(f"{what} shows no {', '.join(missing)}")


def main():
    with tempfile.TemporaryDirectory() as library:
        for module in MODULES:
            shutil.copy(sys.argv[1], os.path.join(library, module))
            shutil.copy(os.path.join(LIBRARY, module + ".yml"), library)
        as_json = json.loads(ansible_doc(library, "--json", *MODULES))
        for module in MODULES:
            docs = documented(module)
            options, returned = docs["DOCUMENTATION"]["options"], docs["RETURN"]
            page = ansible_doc(library, "-t", "module", module)
            check([*options, *keys_of(returned)], page, f"ansible-doc {module}")
            check(options, ansible_doc(library, "-s", module), f"ansible-doc -s {module}")
            if (set(as_json[module]["doc"]["options"]), as_json[module]["return"].keys()) != (set(options), returned.keys()):
                sys.exit(f"ansible-doc --json {module} has other options or results than its sidecar")
        # Opens every module as text: it warns of each executable, and lists none (all versions up to 2.21).
        listing = subprocess.run(["ansible-doc", "-M", library, "-l", "ansible.legacy"], capture_output=True, text=True, check=True)
        known = ("documentation formatting", "codec can't decode")
        others = [line for line in listing.stderr.splitlines() if not any(words in line for words in known)]
        if others:
            sys.exit(f"ansible-doc -l says more than is known: {others}")
    print(f"ansible-doc renders {', '.join(MODULES)}")


main()
