"""What awx/configure.yml has made fits together: configured.py OBJECTS PROJECT"""

import json
import pathlib
import sys

objects = json.loads(pathlib.Path(sys.argv[1]).read_text())
project = pathlib.Path(sys.argv[2])
[release] = objects["projects"].values()
[nightly] = objects["schedules"].values()
templates = {template["name"]: template for template in objects["job_templates"].values()}

assert (release["scm_type"], release["scm_url"][-7:]) == ("archive", ".tar.gz"), release
assert templates.keys() == {f"Cassandra {verb}" for verb in ("backup", "restore", "rollback", "verify", "list")}
for template in templates.values():
    assert (project / template["playbook"]).is_file(), template["playbook"]
    assert template["project"] == release["id"], template
    assert template["execution_environment"] == release["default_environment"], template
    assert template["job_slice_count"] == 1 and not template["allow_simultaneous"], template
    survey = project / f"awx/survey_{template['name'].split()[1]}.json"
    assert template["survey_enabled"] == survey.is_file(), template["name"]
    if survey.is_file():
        asked = {question["variable"]: question for question in template["survey_spec"]["spec"]}
        of_file = {question["variable"]: question for question in json.loads(survey.read_text())["spec"]}
        differing = {variable for variable in of_file if asked.pop(variable) != of_file[variable]}
        assert not asked and differing <= {"cassandra_backup_push_to", "cassandra_restore_pull_from"}, differing

backup = templates["Cassandra backup"]
asked = {question["variable"]: question for question in backup["survey_spec"]["spec"]}
assert asked["cassandra_backup_push_to"]["default"] == "vault", asked
assert nightly["unified_job_template"] == backup["id"], nightly
# AWX takes no answer to what is not asked, and none of another type.
assert nightly["extra_data"] == {"cassandra_backup_keep_last": 14} and "cassandra_backup_keep_last" in asked, nightly
