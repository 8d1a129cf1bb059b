"""The surveys ask for variables that exist and offer values that are taken: surveys.py PROJECT"""

import json
import pathlib
import re
import sys

import yaml

ROLES = {"backup": "backup", "restore": "restore", "rollback": "restore", "verify": "backup"}

project = pathlib.Path(sys.argv[1])
surveys = {path.stem.removeprefix("survey_"): path for path in (project / "awx").glob("survey_*.json")}
assert surveys.keys() == ROLES.keys(), f"surveys of {set(surveys)}"

for verb, path in surveys.items():
    playbook = (project / f"playbooks/{verb}.yml").read_text()
    specs = yaml.safe_load((project / f"roles/cassandra_{ROLES[verb]}/meta/argument_specs.yml").read_text())
    options = specs["argument_specs"]["main"]["options"]
    for question in json.loads(path.read_text())["spec"]:
        variable, kind, choices = question["variable"], question["type"], question.get("choices", [])
        option = options.get(variable)
        if option is None:
            assert re.search(rf"{{{{ {variable} \| default\(", playbook), f"{verb}: nobody reads {variable}"
            option = {"type": "str"}
        allowed = ["false", "true"] if option["type"] == "bool" else option.get("choices", [])
        assert set(choices) <= set(allowed), f"{verb}: {variable} takes {allowed}, the survey offers {choices}"
        expected = "multiplechoice" if allowed else {"int": "integer", "str": "text"}[option["type"]]
        assert kind == expected, f"{verb}: {variable} is asked for as {kind}, not as {expected}"
        assert question["question_description"], f"{verb}: what {variable} means is not said"
