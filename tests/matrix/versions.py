"""Every Cassandra that people still run: backed up, spoiled and restored, and upgrades on the way."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "node"))

import rig  # noqa: E402
from cases import case  # noqa: E402

CYCLE = "backup, lose, restore, repair, full content, indexes, second restore unchanged"
PROTOCOL_VERSIONS = {"2.1": 3, "2.2": 4, "3.1": 4, "4.0": 5, "4.1": 5, "5.0": 5}
JAVA_WARNING = "nodetool works in this container with `JAVA_TOOL_OPTIONS=-Dcom.sun.jndi.rmiURLParsing=legacy` only"


def image(version):
    return "cassandra-backup-test:" + ("5.0" if version == "5.0.5" else version)


def node_of(version, *docker_options):
    return rig.Node(
        f"version-{version}", *docker_options, image=image(version), protocol_version=PROTOCOL_VERSIONS[version[:3]]
    )


def went_well(result, **expected):
    assert result and not result.get("failed"), result
    for key, value in expected.items():
        assert result[key] == value, f"{key} is not {value}: {result}"
    return result


def cycle(node):
    """Backs up, spoils and restores; returns the results of the backup and the restore."""
    try:
        node.wait_for_clients()
        node.dataset("write")
        backed_up = went_well(node.run_module("cassandra_backup", tag="good"), changed=True)
        again = went_well(node.run_module("cassandra_backup", tag="good"), changed=False)
        assert again["backup"]["sha256"] == backed_up["backup"]["sha256"], again
        assert node.snapshots() == set(), node.snapshots()
        host_id = node.host_id()
        node.dataset("lose")
        restored = went_well(node.restore(tag="good", repair="full"), changed=True)
        node.wait_for_clients()
        node.dataset("check")
        assert node.host_id() == host_id
        went_well(node.restore(tag="good", repair="full"), changed=False)
        assert node.restart_policy() == "unless-stopped"
        return backed_up, restored
    finally:
        node.remove()


def formats_of(backed_up):
    return "sstables " + ", ".join(backed_up["backup"]["sstable_formats"])


@case(version="2.1.2", layout="/opt/apache-cassandra-2.1.2, nodetool not on PATH", tests=CYCLE)
def by_hand_2_1_2():
    backed_up, restored = cycle(node_of("2.1.2", "--hostname", "node"))
    for result in (backed_up, restored):
        assert any(warning.startswith(JAVA_WARNING) for warning in result["warnings"]), result
    return formats_of(backed_up)


def official(version):
    @case(version=version, layout="official image's", tests=CYCLE)
    def run():
        backed_up, restored = cycle(node_of(version))
        assert not any("JAVA_TOOL_OPTIONS" in warning for warning in restored.get("warnings", [])), restored
        return formats_of(backed_up)

    run.__name__ = f"official_{version.replace('.', '_')}"
    return run


official_2_1_20, official_2_2_4, official_3_11_5, official_4_0_17, official_4_1_9, official_5_0_5 = map(
    official, ["2.1.20", "2.2.4", "3.11.5", "4.0.17", "4.1.9", "5.0.5"]
)
