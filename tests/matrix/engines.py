"""Engines beside the machine's own, which the `docker` command and the modules are led to."""

import contextlib
import os
import pathlib
import shutil
import subprocess

import rig
import settings
from disks import run

FOLDER = rig.FOLDER / "engines"


@contextlib.contextmanager
def used(socket):
    """For everything that is asked of an Engine meanwhile."""
    before = os.environ.get("DOCKER_HOST")
    os.environ["DOCKER_HOST"] = f"unix://{socket}"
    try:
        yield
    finally:
        if before is None:
            del os.environ["DOCKER_HOST"]
        else:
            os.environ["DOCKER_HOST"] = before


@contextlib.contextmanager
def started(name, command, socket):
    """A server, until it is not needed any more; it has the image of the tests."""
    image = FOLDER / "image.tar"
    run("docker", "save", "--output", image, settings.IMAGE)
    socket.unlink(missing_ok=True)
    with (FOLDER / f"{name}.log").open("w") as log:
        server = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log)
    try:
        with used(socket):
            rig.wait_until(f"{name} listens", lambda: socket.exists() and rig.docker("version", check=False))
            rig.docker("load", "--input", str(image))
            image.unlink()
            yield
    finally:
        server.terminate()
        server.wait()


@contextlib.contextmanager
def remapped():
    """A second dockerd whose containers' root is another user of this host; the number of that user."""
    bridge, user, offset = "cassbackup0", "cassbackup", 700_000
    root, run_root, socket = FOLDER / "remapped", pathlib.Path("/run/cassandra-backup-remapped"), FOLDER / "remapped.sock"
    FOLDER.mkdir(parents=True, exist_ok=True)
    files = [pathlib.Path("/etc/subuid"), pathlib.Path("/etc/subgid")]
    before = {file: file.read_text() if file.exists() else "" for file in files}
    run("useradd", "--system", "--no-create-home", user)
    for file, text in before.items():
        file.write_text(f"{text}{user}:{offset}:65536\n")
    run("ip", "link", "add", bridge, "type", "bridge")
    run("ip", "address", "add", "10.78.0.1/24", "dev", bridge)
    run("ip", "link", "set", bridge, "up")
    command = [
        "dockerd", "--host", f"unix://{socket}", "--data-root", root, "--exec-root", run_root, "--pidfile",
        FOLDER / "remapped.pid", "--bridge", bridge, "--iptables=false", "--ip-masq=false", "--userns-remap", user,
        "--storage-driver", "overlay2",
    ]
    # What a container of another user reaches its mounts through.
    for above in [FOLDER, *FOLDER.parents]:
        if above != pathlib.Path("/") and not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o001)
    try:
        with started("remapped", command, socket):
            yield offset
    finally:
        run("ip", "link", "delete", bridge)
        for file, text in before.items():
            file.write_text(text)
        run("userdel", user)
        shutil.rmtree(root, ignore_errors=True)


@contextlib.contextmanager
def podman():
    """Rootful, by its Docker-compatible socket; its version."""
    if not shutil.which("podman"):
        run("apt-get", "install", "--yes", "--no-install-recommends", "podman", "runc", "netavark", "aardvark-dns")
    FOLDER.mkdir(parents=True, exist_ok=True)
    socket, config = FOLDER / "podman.sock", FOLDER / "containers.conf"
    # What podman gives to its containers by itself is more than it may on a machine that keeps CAP_SYS_RESOURCE back, and
    # crun knows cgroups of version 1 only where there are none of version 2 beside them.
    config.write_text(
        '[containers]\ndefault_ulimits = ["nofile=10000:10000", "nproc=30000:30000"]\n'
        '[network]\nnetwork_backend = "netavark"\n[engine]\nruntime = "runc"\n'
    )
    command = ["env", f"CONTAINERS_CONF={config}", "podman", "system", "service", "--time", "0", f"unix://{socket}"]
    with started("podman", command, socket):
        try:
            yield run("podman", "version", "--format", "{{.Server.Version}}").strip()
        finally:
            run("podman", "system", "reset", "--force")
