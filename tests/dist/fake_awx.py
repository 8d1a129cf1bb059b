"""An AWX that remembers what it is told: as much of its API as awx.awx needs for what awx/configure.yml makes.

    fake_awx.py FOLDER

Writes its address to FOLDER/url once it listens, and all objects to FOLDER/objects.json whenever one has changed.
"""

import http.server
import itertools
import json
import pathlib
import sys
import urllib.parse

TYPES = {"text": str, "textarea": str, "integer": int, "float": float, "multiplechoice": str, "multiselect": str}

folder = pathlib.Path(sys.argv[1])
# By collection and id. What an administrator has made before is there, and so is all that belongs to an object.
NAMES = "organizations inventories credentials execution_environments projects job_templates schedules"
objects = {name: {} for name in NAMES.split()}
related = {}
ids = itertools.count(1)


def add(collection, fields):
    number = next(ids)
    url = f"/api/v2/{collection}/{number}/"
    known = {"id": number, "url": url, "type": collection, "summary_fields": {}, "related": {}}
    if collection == "projects":
        known["scm_revision"] = ""
    if collection == "job_templates":
        known["related"]["survey_spec"] = url + "survey_spec/"
    objects[collection][str(number)] = known | fields
    return objects[collection][str(number)]


def found(collection, query):
    names = ("projects", "job_templates") if collection == "unified_job_templates" else (collection,)
    every = [known for name in names for known in objects[name].values()]
    hits = [known for known in every if all(str(known.get(key)) == value for key, value in query.items())]
    return {"count": len(hits), "next": None, "results": hits}


def survey_errors(survey):
    """What AWX refuses of a survey."""
    if missing := {"name", "description", "spec"} - survey.keys():
        return [f"{missing} missing"]
    variables = [question.get("variable") for question in survey["spec"]]
    errors = [] if len(set(variables)) == len(variables) else ["a variable is asked for twice"]
    for question in survey["spec"]:
        of, default = f"question {question.get('question_name')}", question.get("default", "")
        if missing := {"type", "question_name", "variable", "required"} - question.keys():
            errors.append(f"{of}: {missing} missing")
        elif question["type"] not in TYPES:
            errors.append(f"{of}: type {question['type']}")
        elif default != "" and type(default) is not TYPES[question["type"]]:
            errors.append(f"{of}: default {default!r} is of another type")
        elif question["type"].startswith("multi") and default not in ["", *question.get("choices", [])]:
            errors.append(f"{of}: default {default!r} is no choice")
        elif any(type(question.get(limit, 0)) is not int for limit in ("min", "max")):
            errors.append(f"{of}: min and max are numbers")
    return errors


class Api(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def parts(self):
        url = urllib.parse.urlsplit(self.path)
        collection, *rest = url.path.removeprefix("/api/v2/").strip("/").split("/")
        return collection, rest, dict(urllib.parse.parse_qsl(url.query))

    def told(self):
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def do_GET(self):
        match self.parts():
            case collection, [], query:
                self.answer(200, found(collection, query))
            case collection, [number], _:
                self.answer(200, objects[collection][number])
            case collection, [number, "survey_spec"], _:
                self.answer(200, objects[collection][number].get("survey_spec", {}))
            case collection, [number, association], _:
                linked = related.get((collection, number, association), [])
                self.answer(200, {"count": len(linked), "next": None, "results": [{"id": at} for at in linked]})

    def do_POST(self):
        told = self.told()
        match self.parts():
            case collection, [], _:
                self.answer(201, add(collection, told))
            case collection, [number, "survey_spec"], _:
                if errors := survey_errors(told):
                    return self.answer(400, {"error": errors})
                objects[collection][number]["survey_spec"] = told
                self.answer(200, {})
            case collection, [number, association], _:
                linked = related.setdefault((collection, number, association), [])
                linked.remove(told["id"]) if told.get("disassociate") else linked.append(told["id"])
                objects[collection][number][association] = linked
                self.answer(204, {})
        self.keep()

    def do_PATCH(self):
        collection, [number], _ = self.parts()
        objects[collection][number] |= self.told()
        self.answer(200, objects[collection][number])
        self.keep()

    def keep(self):
        (folder / "objects.json").write_text(json.dumps(objects, indent=1))

    def log_message(self, *_):
        pass


add("organizations", {"name": "Default"})
add("inventories", {"name": "production"})
add("credentials", {"name": "operator"})
add("execution_environments", {"name": "cassandra-backup-ee"})
server = http.server.HTTPServer(("127.0.0.1", 0), Api)
(folder / "url.partial").write_text(f"http://127.0.0.1:{server.server_port}")
(folder / "url.partial").rename(folder / "url")
server.serve_forever()
