"""Every Cassandra that people still run: backed up, spoiled and restored, and upgrades on the way."""

import json
import subprocess

from cases import case, went_well  # first: it makes the others known
import rig
import settings

CYCLE = "backup, lose, restore, repair, full content, indexes, second restore unchanged; does not start behind the blocker"
PROTOCOL_VERSIONS = {"2.1": 3, "2.2": 4, "3.1": 4, "4.0": 5, "4.1": 5, "5.0": 5}
# Its Java is told nothing in 2.1.2's image, and nodetool of 2.2 does not look at `JVM_OPTS`.
NEED_JAVA_TOLD = ["2.1.2", "2.2.4"]
JAVA_WARNING = "nodetool works in this container with `JAVA_TOOL_OPTIONS=-Dcom.sun.jndi.rmiURLParsing=legacy` only"


def protocol_version(version):
    return PROTOCOL_VERSIONS[version[:3]]


def image(version):
    return "cassandra-backup-test:" + ("5.0" if version == "5.0.5" else version)


def node_of(version, *docker_options):
    node = rig.Node(
        f"version-{version}", *docker_options, image=image(version), protocol_version=protocol_version(version)
    )
    node.version = version
    return node


def cycle(node):
    """Backs up, spoils and restores."""
    try:
        node.wait_for_clients()
        node.dataset("write")
        node.dataset("check")
        backed_up = went_well(node.run_module("cassandra_backup", tag="good"), changed=True)
        formats = formats_of(node.folder / "backup/good.tgz")
        again = went_well(node.run_module("cassandra_backup", tag="good"), changed=False)
        assert again["backup"]["sha256"] == backed_up["backup"]["sha256"], again
        assert "good" not in node.snapshots(), node.snapshots()
        host_id = node.host_id()
        node.dataset("lose")
        restored = went_well(node.restore(tag="good", repair="full"), changed=True)
        node.wait_for_clients()
        node.dataset("check")
        assert node.host_id() == host_id
        went_well(node.restore(tag="good", repair="full"), changed=False)
        assert node.restart_policy() == "unless-stopped"
        for result in (backed_up, restored):
            is_told = any(warning.startswith(JAVA_WARNING) for warning in result.get("warnings", []))
            assert is_told == (node.version in NEED_JAVA_TOLD), result
        blocker_holds(node)
        return formats
    finally:
        node.remove()


def blocker_holds(node):
    """On a data directory whose `system` is a file no Cassandra starts, and none writes into it: see docs/restore-phases.md."""
    data, aside = node.folder / "data/data", node.folder / "system"

    def tree():
        """But for the blocker, which the entry point gives to Cassandra."""
        below = node.tree().items()
        return {path: about for path, about in below if path.startswith(f"{data}/") and path != f"{data}/system"}

    rig.docker("update", "--restart", "no", node.name)
    rig.docker("stop", node.name)
    (data / "system").rename(aside)
    (data / "system").write_text("blocked")
    before = tree()
    node.start()
    assert node.wait_for_exit() != 0
    assert tree() == before
    (data / "system").unlink()
    aside.rename(data / "system")
    node.start()
    node.wait_for_clients()


# Upgrades.

UPGRADE = "an older archive restored after an upgrade, with a notice; a newer one refused, untouched"
UPGRADE_NOTICE = "run `nodetool upgradesstables` after the restore"


def refused_untouched(node, archive, why):
    """The archive is of another node as well: `force` leaves the version as the only reason."""
    wait_until_quiet(node)
    before = node.tree()
    refused = node.restore(src=str(archive), force=True)
    assert refused["failed"] and refused["error"] == "refused" and why in refused["msg"], refused
    assert refused["changed"] is False and node.tree() == before, refused
    assert node.is_running()


def wait_until_quiet(node):
    """Cassandra writes its own tables now and then: no change between two looks."""
    looks = [None]

    def is_quiet():
        looks.append(node.tree())
        return looks[-1] == looks[-2]

    rig.wait_until("a node that writes nothing", is_quiet)


def upgrade(older, newer):
    """A node is upgraded, and rolled back to what it was before; its new archives do not fit an old node."""
    node = node_of(older)
    try:
        node.dataset("write")
        node.backup("older")
        host_id = node.host_id()
        node.make_anew(image(newer), protocol_version(newer))
        node.wait_for_clients()
        node.dataset("lose")
        newest = node.backup("newer")
        restored = went_well(node.restore(tag="older"), changed=True)
        assert any(UPGRADE_NOTICE in warning for warning in restored["warnings"]), restored
        node.wait_for_clients()
        node.dataset("check")
        assert node.host_id() == host_id
        went_well(node.restore(tag="older"), changed=False)
        kept = rig.FOLDER / f"newer-{newer}.tgz"
        newest.rename(kept)
    finally:
        node.remove()
    node = node_of(older)
    try:
        why = f"it was made by Cassandra {newer}, and this is the older {older}"
        refused_untouched(node, kept, why)
    finally:
        node.remove()
        kept.unlink()


def formats_of(archive):
    command = ["tar", "--extract", "--to-stdout", "--gzip", "--file", str(archive), "cassandra_backup.json"]
    manifest = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    return "sstables " + ", ".join(json.loads(manifest)["sstable_formats"])


@case(version="2.1.2", layout="/opt/apache-cassandra-2.1.2, nodetool not on PATH", tests=CYCLE)
def by_hand_2_1_2():
    return cycle(node_of("2.1.2", "--hostname", "node"))


def official(version):
    @case(version=version, layout="official image's", tests=CYCLE)
    def run():
        return cycle(node_of(version))

    run.__name__ = f"official_{version.replace('.', '_')}"
    return run


official_2_1_20, official_2_2_4, official_3_11_5, official_4_0_17, official_4_1_9, official_5_0_5 = map(
    official, ["2.1.20", "2.2.4", "3.11.5", "4.0.17", "4.1.9", "5.0.5"]
)


@case(version="2.1.20 to 2.2.4", layout="official image's", tests=UPGRADE)
def upgrade_2_1_to_2_2():
    upgrade("2.1.20", "2.2.4")


@case(version="3.11.5 to 4.0.17", layout="official image's", tests=UPGRADE)
def upgrade_3_11_to_4_0():
    upgrade("3.11.5", "4.0.17")


@case(version="4.1.9 to 5.0.5", layout="official image's", tests=UPGRADE)
def upgrade_4_1_to_5_0():
    upgrade("4.1.9", "5.0.5")


@case(version="2.1.20 into 4.0.17", layout="official image's", tests="two majors: refused, untouched")
def two_majors():
    old = node_of("2.1.20")
    try:
        old.write("of 2.1")
        archive = old.backup("old")
        new = node_of("4.0.17")
        try:
            refused_untouched(new, archive, "it was made by Cassandra 2.1.20, which 4.0.17 reads no more")
        finally:
            new.remove()
    finally:
        old.remove()


@case(version="5.0.5", layout="official image's, UUID sstable ids", tests=CYCLE)
def uuid_ids_5_0():
    return cycle(node_of("5.0.5", *settings.mounted(uuid_sstable_identifiers_enabled="true")))


@case(version="5.0.5", layout="official image's, BTI sstables with UUID ids, no compatibility with 4.x", tests=CYCLE)
def bti_5_0():
    node = node_of(
        "5.0.5",
        *settings.mounted(
            storage_compatibility_mode="NONE",
            uuid_sstable_identifiers_enabled="true",
            sstable="{selected_format: bti}",
        ),
    )
    formats = cycle(node)
    assert "da-bti" in formats, formats
    return formats
