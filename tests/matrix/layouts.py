"""However the container is laid out, on 5.0: directories, mounts, owners, JMX, Engines, and who else starts it."""

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
from disks import disk, run

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


# Layouts.


@case(VERSION, "bitnami-like: `/bitnami/cassandra/data/…`, uid 1001 gid 0, read-only root", CYCLE)
def bitnami():
    conf = rig.FOLDER / "bitnami-conf"
    shutil.rmtree(conf, ignore_errors=True)
    rig.docker("create", "--name", "cassandra-backup-layout-conf", "--label", rig.LABEL, settings.IMAGE)
    try:
        conf.parent.mkdir(parents=True, exist_ok=True)
        rig.docker("cp", "cassandra-backup-layout-conf:/etc/cassandra", str(conf))
    finally:
        rig.docker("rm", "--volumes", "cassandra-backup-layout-conf")
    home = "/bitnami/cassandra/data"
    (conf / "cassandra.yaml").write_text(settings.text(**directories(home), cdc_raw_directory=f"{home}/cdc_raw"))
    run("chown", "-R", "1001:0", conf)
    node = node_of(
        "bitnami", "--user", "1001:0", "--read-only", "--tmpfs", "/tmp:exec,mode=1777", "--tmpfs", "/var/log/cassandra:mode=1777",
        "--env", "CASSANDRA_CONF=/opt/bitnami/cassandra/conf", "--volume", f"{conf}:/opt/bitnami/cassandra/conf",
        mounts={"/bitnami/cassandra": "bitnami"}, owner=(1001, 0),
    )
    with kept(node):
        cycle(node)
        table = next((node.folder / "bitnami/data/data/faults").iterdir())
        assert (table.stat().st_uid, table.stat().st_gid) == (1001, 0), table.stat()


@case(VERSION, "configuration at `-Dcassandra.config=`; named by `config_file` where the node is found stopped", CYCLE)
def configuration_elsewhere():
    its_own = {
        **directories("/srv/cassandra"), "listen_address": "node", "rpc_address": "0.0.0.0",
        "broadcast_rpc_address": "node",
        "seed_provider": '[{class_name: org.apache.cassandra.locator.SimpleSeedProvider, parameters: [{seeds: "node"}]}]',
    }
    path = rig.FOLDER / "elsewhere.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = settings.text(**its_own).splitlines()
    path.write_text("\n".join(line for line in lines if not line.startswith((" ", "-"))) + "\n")
    node = node_of(
        "configuration", "--hostname", "node", "--volume", f"{path}:/srv/node.yaml:ro",
        "--env", f"JVM_EXTRA_OPTS={rig.FAST} -Dcassandra.config=file:///srv/node.yaml",
        mounts={"/srv/cassandra": "data"}, owner=(999, 999),
    )
    with kept(node):
        cycle(node)
        node.write("lost")
        rig.docker("stop", node.name)
        went_well(node.restore(tag="good", config_file="/srv/node.yaml"), changed=True)
        node.wait_for_clients()
        assert node.words() == {"kept": 200}


# Mounts.


@case(VERSION, "each directory is a bind mount by itself", CYCLE)
def separate_mounts():
    names = ["data", "commitlog", "hints", "saved_caches"]
    node = node_of("separate", mounts={f"{OFFICIAL}/{name}": name for name in names}, owner=(999, 999))
    with kept(node):
        cycle(node)


@case(VERSION, "directories deep below a mount", CYCLE)
def below_a_mount():
    node = node_of(
        "sub-path", *settings.mounted(**directories("/srv/site/cassandra/a", data="b/data")),
        mounts={"/srv": "srv"}, owner=(999, 999),
    )
    with kept(node):
        cycle(node)


@case(VERSION, "host path with a symlink in it", CYCLE)
def symlinked_host_path():
    folder = rig.FOLDER / "layout-symlink-real"
    folder.mkdir(parents=True, exist_ok=True)
    link = rig.FOLDER / "layout-symlink-link"
    link.unlink(missing_ok=True)
    link.symlink_to(folder)
    node = node_of("symlink", mounts={OFFICIAL: "../layout-symlink-link/data"})
    try:
        cycle(node)
    finally:
        node.remove()
        shutil.rmtree(folder)
        link.unlink()


@case(VERSION, "named volume", CYCLE)
def named_volume():
    volume = "cassandra-backup-matrix"
    rig.docker("volume", "rm", "--force", volume)
    rig.docker("volume", "create", "--label", rig.LABEL, volume)
    node = node_of("volume", mounts={OFFICIAL: f"volume:{volume}"})
    try:
        cycle(node)
    finally:
        node.remove()
        rig.docker("volume", "rm", volume)


@case(VERSION, "commit log and hints on another filesystem", CYCLE)
def commit_log_on_another_disk():
    with disk("log") as log:
        for name in ["commitlog", "hints"]:
            (log / name).mkdir()
            os.chown(log / name, 999, 999)
        mounts = {OFFICIAL: "data", "/log": str(log)}
        own = {"commitlog_directory": "/log/commitlog", "hints_directory": "/log/hints"}
        with kept(node_of("log", *settings.mounted(**own), mounts=mounts)) as node:
            cycle(node)


JBOD = {
    "data_file_directories": "[/data/1/cassandra, /data/2/cassandra]",
    "local_system_data_file_directory": "/data/local",
}


@case(VERSION, "several data directories and one of the local system's, on one filesystem", CYCLE)
def jbod_on_one_disk():
    mounts = {OFFICIAL: "data", "/data/1": "1", "/data/2": "2", "/data/local": "local"}
    with kept(node_of("jbod", *settings.mounted(**JBOD), mounts=mounts, owner=(999, 999))) as node:
        cycle(node)


@case(VERSION, "several data directories and one of the local system's, each on a filesystem of its own", CYCLE)
def jbod_on_several_disks():
    with disk("one") as one, disk("two") as two, disk("local") as local:
        mounts = {OFFICIAL: "data", "/data/1": str(one), "/data/2": str(two), "/data/local": str(local)}
        with kept(node_of("disks", *settings.mounted(**JBOD), mounts=mounts, owner=(999, 999))) as node:
            cycle(node)


@case(VERSION, "data directory that is a mount point, on the host, below the mount of its parent", CYCLE)
def data_is_a_mount_point():
    parent = rig.FOLDER / "mount-point"
    shutil.rmtree(parent, ignore_errors=True)
    with disk("data", at=parent / "data"):
        os.chown(parent, 999, 999)
        with kept(node_of("mount-point", mounts={OFFICIAL: str(parent)})) as node:
            cycle(node)
            assert (parent / "data/lost+found").is_dir()
    shutil.rmtree(parent)


@case(VERSION, "data directory that is a mount of Docker's, a filesystem by itself with `lost+found`", CYCLE)
def data_is_a_filesystem():
    with disk("data") as data:
        with kept(node_of("filesystem", mounts={OFFICIAL: "data", f"{OFFICIAL}/data": str(data)})) as node:
            cycle(node)
            assert (data / "lost+found").is_dir()


@case(VERSION, "a keyspace on a mount of its own below the data directory", "refused, untouched")
def keyspace_on_a_mount():
    mounts = {OFFICIAL: "data", f"{OFFICIAL}/data/faults": "faults"}
    with kept(node_of("keyspace", mounts=mounts, owner=(999, 999))) as node:
        node.write("kept")
        why = f"another mount, `{OFFICIAL}/data/faults`, lies below it"
        refused(node.run_module("cassandra_backup", tag="x"), "host_path", why)
        refused(node.restore(tag="x"), "host_path", why)
        assert node.words() == {"kept": 200}


@case(VERSION, "data in the container's own layer", "backup of a running node, from which a new container is restored")
def own_layer():
    own = settings.mounted(**directories("/tmp/cassandra"))
    with kept(node_of("layer", *own, mounts={})) as node:
        node.write("kept")
        archive = node.backup("layer")
        way_out = "make the container anew with a volume there, and restore into that"
        refused(node.restore(tag="layer"), "host_path", way_out)
        assert node.words() == {"kept": 200} and node.is_running()
        rig.docker("stop", node.name)
        refused(node.run_module("cassandra_backup", tag="y"), "host_path", "which can be read only while it runs")
        moved = rig.FOLDER / "layer.tgz"
        archive.rename(moved)
    with kept(node_of("layer", *own, mounts={"/tmp/cassandra": "data"}, owner=(999, 999))) as node:
        went_well(node.restore(src=str(moved), force=True), changed=True)
        node.wait_for_clients()
        assert node.words() == {"kept": 200}
    moved.unlink()


@case(VERSION, "tmpfs", "refused, untouched")
def tmpfs():
    with kept(node_of("tmpfs", "--tmpfs", f"{OFFICIAL}:mode=1777", mounts={})) as node:
        node.write("kept")
        for result in [node.run_module("cassandra_backup", tag="x"), node.restore(tag="x")]:
            refused(result, "host_path", "it lies on a mount of type tmpfs")
        assert node.words() == {"kept": 200}


@case(VERSION, "`backup_dir` on a filesystem without hard links and owners (exFAT by FUSE)", CYCLE)
def backup_dir_on_exfat():
    install("exfatprogs", "exfat-fuse")
    made = {"make": ("mkfs.exfat",), "mount": ("mount.exfat-fuse",), "owner": None}
    with disk("exfat", **made) as exfat, kept(node_of("exfat")) as node:
        cycle(node, backup_dir=str(exfat / "backup"))


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
    volume = "cassandra-backup-matrix"
    rig.docker("volume", "rm", "--force", volume)
    rig.docker("volume", "create", "--label", rig.LABEL, volume)
    node = node_of("volume-tar", mounts={OFFICIAL: f"volume:{volume}"})
    try:
        mountpoint = rig.docker("volume", "inspect", "--format", "{{.Mountpoint}}", volume)
        restore_a_tar_of(node, f"{mountpoint}/data")
    finally:
        node.remove()
        rig.docker("volume", "rm", volume)


def install(*packages):
    """Debian's, where they are not there."""
    if any(subprocess.run(["dpkg", "-s", package], capture_output=True, check=False).returncode for package in packages):
        run("apt-get", "install", "--yes", "--no-install-recommends", *packages)
