"""Killed and started by others on real Cassandra: at every point the node is the old one, the archive's, or does not start."""

import os
import random
import unittest

import rig

node = None


def setUpModule():
    global node
    node = rig.Node("killed")
    node.write("archived")
    node.backup("good")
    node.write("previous", rows=300)
    rig.docker("exec", node.name, "nodetool", "snapshot", "--tag", "mine", "faults")


def tearDownModule():
    node.remove()


def steps_of(**options):
    """What a whole run does, one step after another."""
    log = node.folder / "steps"
    log.unlink(missing_ok=True)
    result = node.run_module("cassandra_restore", {"CASSANDRA_BACKUP_EFFECTS": str(log)}, **options)
    assert not result.get("failed"), result
    return rig.steps(log)


class Killed(unittest.TestCase):
    def is_archives(self):
        node.wait_for_clients()
        self.assertEqual(node.words(), {"archived": 200})
        self.is_left_well()

    def is_previous(self):
        node.wait_for_clients()
        self.assertEqual(node.words(), {"previous": 300})
        self.is_left_well()

    def is_left_well(self):
        self.assertEqual(node.host_id(), self.host_id)
        self.assertEqual(node.restart_policy(), "unless-stopped")
        self.assertFalse(node.work("staged").exists())
        self.assertIn("mine", node.snapshots())

    def back(self):
        result = node.restore(state="rolled_back")
        self.assertFalse(result.get("failed"), result)
        self.is_previous()

    def setUp(self):
        self.host_id = node.host_id()

    def test_somebody_starts_the_node_at_every_point_of_the_swap(self):
        """It does not start while the blocker is in, and nothing is written; else it is a whole node."""
        steps = steps_of(tag="good")
        self.back()
        swap = [step for step in steps if step["kind"] in ("Exchange", "Rename")]
        swap = [step for step in swap if "restore-data/" in step["path"] + (step["to"] or "")]
        (first, last) = (step["step"] for step in swap if step["kind"] == "Exchange" and "probe" not in step["path"])
        inside = [step["step"] for step in swap if first < step["step"] < last]
        points = [first, inside[0], inside[len(inside) // 2], inside[-1]]
        for point in points:
            with self.subTest(step=steps[point - 1]):
                self.assertIsNone(node.run_module("cassandra_restore", {"CASSANDRA_BACKUP_DIE_AFTER": str(point)}, tag="good"))
                before = node.tree()
                node.start()
                self.assertNotEqual(node.wait_for_exit(), 0)
                after = node.tree()
                # The image's entry point owns what lies below the mount; Cassandra has written nothing.
                written = lambda tree: {path: about[3:] for path, about in tree.items()}
                self.assertEqual(written(after), written(before))
                result = node.restore(tag="good")
                self.assertFalse(result.get("failed"), result)
                self.is_archives()
                self.back()

    def test_a_seeded_sample_of_kills_and_signals(self):
        seed = int(os.environ.get("SEED", "5"))
        chance = random.Random(seed)
        for run, options in [("restore", {"tag": "good"}), ("roll back", {"state": "rolled_back"})]:
            if run == "roll back":
                self.assertFalse(node.restore(tag="good").get("failed"))
            steps = steps_of(**options)
            if run == "restore":
                self.back()
            changing = [step for step in steps if step["kind"] not in ("Open", "Stat", "List", "Read", "Attributes", "Write")]
            touching = [step["step"] for step in changing if "/staged/" not in step["path"] or step["to"]]
            for number in range(int(os.environ.get("SAMPLE", "3"))):
                point, how = chance.choice(touching), chance.choice(["KILL", "TERM", "HUP"])
                variable = ("DIE_AFTER", str(point)) if how == "KILL" else ("SIGNAL_AFTER", f"{point}:{how}")
                with self.subTest(run=run, seed=seed, number=number, how=how, step=steps[point - 1]):
                    if run == "roll back":
                        result = node.restore(tag="good")
                        self.assertFalse(result.get("failed"), result)
                    ended = node.run_module("cassandra_restore", {f"CASSANDRA_BACKUP_{variable[0]}": variable[1]}, **options)
                    if how != "KILL" and ended.get("rolled_back"):
                        self.is_previous()
                    result = node.restore(**options)
                    self.assertFalse(result.get("failed"), result)
                    self.is_archives() if run == "restore" else self.is_previous()
                    if run == "restore":
                        self.back()

    def test_a_backup_that_is_killed_leaves_nothing_for_ever(self):
        log = node.folder / "backup-steps"
        result = node.run_module("cassandra_backup", {"CASSANDRA_BACKUP_EFFECTS": str(log)}, tag="whole")
        self.assertFalse(result.get("failed"), result)
        commands = [step for step in rig.steps(log) if step["kind"] == "Command" and "snapshot -t whole" in step["path"]]
        points = [commands[0]["step"], commands[0]["step"] + 40, commands[-1]["step"]]
        for stopped in [False, True]:
            for point in points:
                with self.subTest(point=point, found_stopped=stopped):
                    if stopped:
                        rig.docker("stop", "--time", "120", node.name)
                    die = {"CASSANDRA_BACKUP_DIE_AFTER": str(point)}
                    self.assertIsNone(node.run_module("cassandra_backup", die, tag="killed", force=True))
                    node.backup("killed", force=True)
                    self.assertEqual(node.is_running(), not stopped)
                    self.assertEqual({tag for tag in node.snapshots() if not tag.startswith("dropped-")}, {"mine"})
                    left = sorted(path.name for path in (node.folder / "backup").iterdir())
                    self.assertFalse([name for name in left if name.endswith(".partial")], left)
                    if stopped:
                        node.start()
                        node.wait_for_clients()


if __name__ == "__main__":
    unittest.main()
