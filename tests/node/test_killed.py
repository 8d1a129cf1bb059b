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
        points = [
            "Exchange=previous/system", "Rename=previous/faults", "Rename=previous/system_schema",
            "Rename=staged/faults", "Rename=staged/system_traces",
        ]
        for point in points:
            with self.subTest(point):
                self.assertIsNone(node.run_module("cassandra_restore", {"CASSANDRA_BACKUP_DIE_AFTER": point}, tag="good"))
                self.assertTrue((node.folder / "data/data/system").is_file())
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
        forth = ["Rename=journal.json", "Policy=no", "Stop=cassandra", "Exchange=previous/system", "Rename=previous/commitlog",
                 "Rename=staged/system_auth", "Exchange=staged/system", "Start=cassandra", "Rename=node.json", "Policy=unless"]
        back = ["Rename=journal.json", "Policy=no", "Stop=cassandra", "Exchange=undone/system", "Rename=previous/system_schema",
                "Exchange=previous/system", "Remove=previous", "Start=cassandra"]
        for run, options, points in [("restore", {"tag": "good"}, forth), ("roll back", {"state": "rolled_back"}, back)]:
            for number, point in enumerate(chance.sample(points, int(os.environ.get("SAMPLE", "3")))):
                how = chance.choice(["KILL", "TERM", "HUP"])
                variable = ("DIE_AFTER", point) if how == "KILL" else ("SIGNAL_AFTER", f"{point}:{how}")
                with self.subTest(run=run, seed=seed, number=number, how=how, point=point):
                    if run == "roll back":
                        result = node.restore(tag="good")
                        self.assertFalse(result.get("failed"), result)
                    ended = node.run_module("cassandra_restore", {f"CASSANDRA_BACKUP_{variable[0]}": variable[1]}, **options)
                    self.assertEqual(ended is None, how == "KILL")
                    if ended and run == "restore" and ended.get("rolled_back"):
                        self.is_previous()
                    result = node.restore(**options)
                    self.assertFalse(result.get("failed"), result)
                    self.is_archives() if run == "restore" else self.is_previous()
                    if run == "restore":
                        self.back()

    def test_a_backup_that_is_killed_leaves_nothing_for_ever(self):
        points = ["Rename=snapshot.json", "Command=nodetool snapshot -t killed", "Rename=killed.tgz"]
        for stopped in [False, True]:
            for point in points:
                with self.subTest(point=point, found_stopped=stopped):
                    if stopped:
                        rig.docker("stop", "--time", "120", node.name)
                    die = {"CASSANDRA_BACKUP_DIE_AFTER": point}
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
