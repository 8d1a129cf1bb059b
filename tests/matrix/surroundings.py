"""Whoever owns the data, asks by JMX, runs the container or made the archive, on 5.0."""

import contextlib
import os
import shutil
import subprocess
import tarfile
import threading

from cases import case, refused, went_well  # first: it makes the others known
import engines
import rig
import settings
from common import CYCLE, OFFICIAL, VERSION, cycle, install, kept, node_of, volume
from disks import run
from layouts import JBOD


# Owners.


@case(VERSION, "`--user 1234:1234`", CYCLE)
def another_user():
    own = settings.mounted()
    with kept(node_of("user", "--user", "1234:1234", *own, owner=(1234, 1234))) as node:
        cycle(node)


@case(VERSION, "data group-writable, setgid, with POSIX ACLs", f"{CYCLE}, modes and ACLs as before")
def group_and_acl():
    install("acl")
    with kept(node_of("acl", "--user", "999:999", *settings.mounted(), owner=(999, 999))) as node:
        data = node.folder / "data/data"
        rig.docker("stop", node.name)
        run("chgrp", "-R", "4321", data)
        run("find", data, "-type", "d", "-exec", "chmod", "2775", "{}", "+")
        run("setfacl", "-R", "-m", "g:4322:rX,d:g:4322:rX", data)
        node.start()
        node.wait_for_clients()
        node.write("kept")

        def shown():
            """Directories down to the tables', which a restore makes anew but for the first."""
            listed = [data, *data.glob("*"), *data.glob("*/*")]
            return run("getfacl", "--absolute-names", *sorted(path for path in listed if path.is_dir()))

        before = shown()
        assert "default:group:4322:r-x" in before and "flags: -s-" in before, before
        cycle(node)
        assert shown() == before, f"{shown()}\n\nwas\n\n{before}"


@case(VERSION, "Engine with `userns-remap`", CYCLE)
def remapped_users():
    with engines.remapped() as offset:
        owner = (offset + 999, offset + 999)
        with kept(node_of("remapped", "--user", "999:999", *settings.mounted(), owner=owner)) as node:
            cycle(node)
            assert (node.folder / "data/data/faults").stat().st_uid == offset + 999


# JMX.


@case(VERSION, "JMX on another port", CYCLE)
def jmx_port():
    node = node_of("jmx-port", "--env", f"JVM_EXTRA_OPTS={rig.FAST} -Dcassandra.jmx.local.port=7299")
    node.nodetool_login = ["-p", "7299"]
    with kept(node):
        refused(node.run_module("cassandra_backup", tag="x", wait_timeout=3), "not_ready", "7199", "jmx_port")
        cycle(node, jmx_port=7299)


@case(VERSION, "JMX with a password", CYCLE)
def jmx_password():
    cycle_with_password("jmx-password", {OFFICIAL: "data"})


def cycle_with_password(name, mounts, *docker_options):
    secrets = rig.FOLDER / "jmx"
    secrets.mkdir(parents=True, exist_ok=True)
    for file, text in {"password": "ops s3cret\n", "access": "ops readwrite\n", "known": "s3cret\n"}.items():
        path = secrets / file
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o400)
        os.chown(path, *((999, 999) if file != "known" else (0, 0)))
    node = node_of(
        name, "--env", "LOCAL_JMX=no", "--volume", f"{secrets}/password:/etc/cassandra/jmxremote.password",
        "--env", f"JVM_EXTRA_OPTS={rig.FAST} -Dcom.sun.management.jmxremote.access.file=/jmxremote.access",
        "--volume", f"{secrets}/access:/jmxremote.access:ro", *docker_options, mounts=mounts, owner=(999, 999),
    )
    node.nodetool_login = ["-u", "ops", "-pw", "s3cret"]
    with kept(node):
        result = node.run_module("cassandra_backup", tag="x")
        refused(result, "nodetool_failed", "jmx_username")
        cycle(node, jmx_username="ops", jmx_password_file=str(secrets / "known"))


@case(VERSION, "JMX with TLS", CYCLE)
def jmx_tls():
    tls = rig.FOLDER / "tls"
    shutil.rmtree(tls, ignore_errors=True)
    tls.mkdir(parents=True)
    tls.chmod(0o777)
    rig.docker(
        "run", "--rm", "--volume", f"{tls}:/tls", "--entrypoint", "keytool", settings.IMAGE, "-genkeypair", "-keyalg", "RSA",
        "-alias", "node", "-dname", "CN=node", "-ext", "SAN=dns:localhost,ip:127.0.0.1", "-storetype", "PKCS12",
        "-keystore", "/tls/keystore", "-storepass", "changeit",
    )
    (tls / "keystore").chmod(0o644)
    store = "-Djavax.net.ssl.{0}=/tls/keystore -Djavax.net.ssl.{0}Password=changeit"
    stores = f"{store.format('keyStore')} {store.format('trustStore')}"
    (tls / "nodetool-ssl.properties").write_text(
        f"{stores} -Dcom.sun.management.jmxremote.ssl.need.client.auth=false\n".replace(" ", "\n")
    )
    extra = (
        f"{rig.FAST} {stores} -Dcassandra.jmx.remote.port=7199 -Dcom.sun.management.jmxremote.ssl=true"
        " -Dcom.sun.management.jmxremote.authenticate=false -Djava.rmi.server.hostname=127.0.0.1"
    )
    node = node_of(
        "jmx-tls", "--env", "LOCAL_JMX=no", "--env", f"JVM_EXTRA_OPTS={extra}", "--volume", f"{tls}:/tls",
        "--volume", f"{tls}/nodetool-ssl.properties:/root/.cassandra/nodetool-ssl.properties:ro",
    )
    node.nodetool_login = ["--ssl"]
    with kept(node):
        cycle(node, nodetool_flags=["--ssl"])


@case(VERSION, "`nodetool` missing", "refused, untouched")
def nodetool_missing():
    binaries = rig.FOLDER / "bin-without"
    shutil.rmtree(binaries, ignore_errors=True)
    binaries.mkdir(parents=True)
    shutil.copy(rig.ROOT / "molecule/images/cassandra-5.0/bin/cassandra", binaries)
    with kept(node_of("no-nodetool", "--volume", f"{binaries}:/opt/cassandra/bin:ro")) as node:
        result = node.run_module("cassandra_backup", tag="x")
        refused(result, "nodetool_missing", "nodetool_path")
        assert node.is_running()


# Engines, and who else starts containers.


@case(VERSION, "podman's Docker-compatible socket, rootful", CYCLE)
def podman():
    with engines.podman() as version:
        with kept(node_of("podman")) as node:
            cycle(node)
    return f"podman {version}"


COMPOSE = ["--label", "com.docker.compose.project=shop", "--label", "com.docker.compose.service=cassandra"]


@case(VERSION, "compose's labels, restart policy, and a supervisor that starts what has stopped", CYCLE)
def supervised():
    with kept(node_of("supervised", *COMPOSE)) as node, supervisor(node) as starts:
        cycle(node)
        assert starts, "the supervisor had nothing to do"
    return f"started {len(starts)} times by the supervisor"


@contextlib.contextmanager
def supervisor(node):
    """Starts the container as soon as the Engine says that it has ended; how often is told."""
    starts = []
    command = ["docker", "events", "--filter", f"container={node.name}", "--filter", "event=die", "--format", "{{.ID}}"]
    events = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def watch():
        for _ in events.stdout:
            rig.docker("start", node.name, check=False)
            starts.append(1)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield starts
    finally:
        events.terminate()
        thread.join()


# Anything with a tar.


@case(VERSION, "a plain `.tgz` by Python's tarfile of a data directory", "restored, how far it was verified is told")
def tar_of_a_data_directory():
    with kept(node_of("tarfile")) as node:
        restore_a_tar_of(node, node.folder / "data/data")


def restore_a_tar_of(node, data):
    node.write("kept")
    rig.docker("stop", node.name)
    archive = rig.FOLDER / "by-hand.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(data, arcname="data")
    node.start()
    node.wait_for_clients()
    node.write("lost")
    result = went_well(node.restore(src=str(archive)), changed=True)
    proven_by = result["backup"]["proven_by"]
    assert "gzip checksums" in proven_by and any("Digest.crc32" in how for how in proven_by), result
    node.wait_for_clients()
    assert node.words() == {"kept": 200}
    went_well(node.restore(src=str(archive)), changed=False)
    archive.unlink()


@case(VERSION, "a plain `.tgz` by GNU tar, `snapshots/<tag>` left in", "restored, how far it was verified is told")
def tar_of_snapshots():
    with kept(node_of("gnu-tar")) as node:
        node.write("kept")
        node.nodetool("snapshot", "-t", "by-hand")
        archive = rig.FOLDER / "by-hand.tgz"
        files = subprocess.run(
            ["find", "data", "-path", "*/snapshots/by-hand/*", "-type", "f"], cwd=node.folder / "data", text=True,
            capture_output=True, check=True,
        ).stdout
        subprocess.run(
            ["tar", "-czf", archive, "-C", node.folder / "data", "-T", "-"], input=files, text=True, check=True
        )
        node.nodetool("clearsnapshot", "-t", "by-hand")
        node.write("lost")
        result = went_well(node.restore(src=str(archive)), changed=True)
        assert any("manifest.json" in how for how in result["backup"]["proven_by"]), result
        node.wait_for_clients()
        assert node.words() == {"kept": 200}
        went_well(node.restore(src=str(archive)), changed=False)
        archive.unlink()


# What `make test` runs of all this, in few starts.


@case(VERSION, "several data directories, each mount by itself, JMX with a password", CYCLE, cut=True)
def several_at_once():
    mounts = {
        f"{OFFICIAL}/commitlog": "commitlog", f"{OFFICIAL}/hints": "hints", f"{OFFICIAL}/saved_caches": "saved_caches",
        "/data/1": "1", "/data/2": "2", "/data/local": "local",
    }
    cycle_with_password("several", mounts, *settings.mounted(**JBOD))


@case(VERSION, "named volume, and a plain `.tgz`", "restored, how far it was verified is told", cut=True)
def volume_and_tar():
    with volume() as name, kept(node_of("volume-tar", mounts={OFFICIAL: f"volume:{name}"})) as node:
        mountpoint = rig.docker("volume", "inspect", "--format", "{{.Mountpoint}}", name)
        restore_a_tar_of(node, f"{mountpoint}/data")
