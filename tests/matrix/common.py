"""What the cases of 5.0 have in common: a node, its cycle, what it needs."""

import contextlib
import subprocess

from cases import went_well  # first: it makes the others known
import rig
from disks import run

VERSION = "5.0.5"
CYCLE = "backup, lose, restore, content, second restore unchanged"
OFFICIAL = "/var/lib/cassandra"


def node_of(name, *docker_options, **more):
    return rig.Node(f"layout-{name}", *docker_options, **more)


@contextlib.contextmanager
def kept(node):
    """The node, until it is not needed any more."""
    try:
        yield node
    finally:
        node.remove()


def cycle(node, **options):
    """Backs up, changes and restores it."""
    node.write("kept")
    host_id = node.host_id()
    went_well(node.run_module("cassandra_backup", tag="good", **options), changed=True)
    node.write("lost")
    restored = went_well(node.restore(tag="good", **options), changed=True)
    node.wait_for_clients()
    assert node.words() == {"kept": 200}, node.words()
    assert node.host_id() == host_id
    assert node.is_running() and node.restart_policy() == "unless-stopped"
    went_well(node.restore(tag="good", **options), changed=False)
    return restored


def directories(where, data="data"):
    """The settings of directories below one."""
    return {
        "data_file_directories": f"[{where}/{data}]", "commitlog_directory": f"{where}/commitlog",
        "hints_directory": f"{where}/hints", "saved_caches_directory": f"{where}/saved_caches",
    }

@contextlib.contextmanager
def volume():
    """A named one, until it is not needed any more; its name."""
    name = "cassandra-backup-matrix"
    rig.docker("volume", "rm", "--force", name)
    rig.docker("volume", "create", "--label", rig.LABEL, name)
    try:
        yield name
    finally:
        rig.docker("volume", "rm", name)


def install(*packages):
    """Debian's, where they are not there."""
    if any(subprocess.run(["dpkg", "-s", package], capture_output=True, check=False).returncode for package in packages):
        run("apt-get", "install", "--yes", "--no-install-recommends", *packages)
