"""cassandra.yaml of 5.0, with other values."""

import rig

IMAGE = "cassandra-backup-test:5.0"


def text(**settings):
    """The image's own with these, which are written as YAML has them in one line."""
    own = rig.docker("run", "--rm", "--entrypoint", "cat", IMAGE, "/etc/cassandra/cassandra.yaml")
    lines = [line for line in own.splitlines() if line.split(":")[0] not in settings]
    return "\n".join([*lines, *[f"{name}: {value}" for name, value in settings.items()]]) + "\n"


def mounted(at="/etc/cassandra/cassandra.yaml", **settings):
    """Options of `docker run` that put it there. The entry point writes the node's address into it."""
    path = rig.FOLDER / "cassandra.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text(**settings))
    path.chmod(0o666)
    return "--volume", f"{path}:{at}"
