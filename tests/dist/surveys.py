"""The surveys ask for variables that exist and offer values that the roles take; prints their default answers.

    surveys.py PROJECT VERB [VARIABLE=VALUE…]
"""

import json
import pathlib
import sys

import yaml

project, verb = pathlib.Path(sys.argv[1]), sys.argv[2]
role = f"cassandra_{verb}"
survey = json.loads((project / f"awx/survey_{verb}.json").read_text())
playbook = (project / f"playbooks/{verb}.yml").read_text()
specs = yaml.safe_load((project / f"roles/{role}/meta/argument_specs.yml").read_text())
options = specs["argument_specs"]["main"]["options"]

answers = {}
for question in survey["spec"]:
    variable, choices = question["variable"], question.get("choices", [])
    if variable in options:
        allowed = ["true", "false"] if options[variable]["type"] == "bool" else options[variable].get("choices", choices)
    else:
        assert f"{{{{ {variable} | default(" in playbook, f"nobody reads {variable}"
        allowed = choices
    assert set(choices) <= set(allowed), f"{variable} takes {allowed}, the survey offers {choices}"
    assert (question["type"] == "multiplechoice") == bool(choices), variable
    answers[variable] = question["default"]

given = dict(pair.split("=", 1) for pair in sys.argv[3:])
assert given.keys() <= answers.keys(), f"the survey does not ask for {given.keys() - answers.keys()}"
print(json.dumps(answers | given))
