"""A set is complete, and of these nodes: set_of.py MANIFEST NODE…"""

import json
import pathlib
import sys

manifest = json.loads(pathlib.Path(sys.argv[1]).read_text())
nodes = manifest["nodes"]
assert manifest["complete"] and nodes.keys() == set(sys.argv[2:]), manifest
assert len({node["host_id"] for node in nodes.values()}) == len(nodes), manifest
copies = pathlib.Path(sys.argv[1]).parents[2]
for name, node in nodes.items():
    assert node["size"] == (copies / name / f"{manifest['tag']}.tgz").stat().st_size, (name, node)
