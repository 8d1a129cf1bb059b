"""Launches a job template as AWX does, in the private directory of ansible-runner; what was configured is in OBJECTS.

    launch.py OBJECTS PRIVATE_DIRECTORY TEMPLATE [VARIABLE=ANSWER…]

Its forks and extra variables go to PRIVATE_DIRECTORY/env: the template's own, the survey's default answers, and the
answers that are given. Prints the playbook.
"""

import json
import pathlib
import sys

objects, private, name, *given = sys.argv[1:]
configured = json.loads(pathlib.Path(objects).read_text())
[template] = [known for known in configured["job_templates"].values() if known["name"] == name]
answers = dict(pair.split("=", 1) for pair in given)
questions = {question["variable"]: question for question in template.get("survey_spec", {"spec": []})["spec"]}
assert answers.keys() <= questions.keys(), f"{name} does not ask for {answers.keys() - questions.keys()}"


def accepted(question, answer):
    least, most = question.get("min", 0), question.get("max", 0)
    match question["type"]:
        case "text":
            return least <= len(answer) <= most
        case "integer":
            return least <= answer <= most
        case "multiplechoice":
            return answer in question["choices"]


variables = json.loads(template["extra_vars"])
for variable, question in questions.items():
    default = question["default"]
    answer = type(default)(answers[variable]) if variable in answers else default
    if accepted(question, answer):
        variables[variable] = answer
    else:
        assert not question["required"] and variable not in answers, f"{variable}: {answer!r} is no answer"

env = pathlib.Path(private, "env")
env.mkdir(exist_ok=True)
(env / "extravars").write_text(json.dumps(variables))
(env / "cmdline").write_text(f"--forks {template['forks']}")
print(template["playbook"])
