"""However the container is laid out and its directories are mounted, on 5.0."""

import os
import shutil

from cases import case, refused, went_well  # first: it makes the others known
import rig
import settings
from common import CYCLE, OFFICIAL, VERSION, cycle, directories, install, kept, node_of, volume
from disks import disk, run


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
    with volume() as name, kept(node_of("volume", mounts={OFFICIAL: f"volume:{name}"})) as node:
        cycle(node)


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
