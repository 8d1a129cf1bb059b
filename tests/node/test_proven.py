"""Unchanged means proven, and in place, on real Cassandra."""

import unittest

import rig

node = None


def setUpModule():
    global node
    node = rig.Node("proven")
    node.write("archived")
    node.backup("good")
    node.write("previous", rows=300)


def tearDownModule():
    node.remove()


class Proven(unittest.TestCase):
    def restored(self, **options):
        result = node.restore(tag="good", **options)
        self.assertFalse(result.get("failed"), result)
        node.wait_for_clients()
        self.assertEqual(node.words(), {"archived": 200})
        return result

    def test_a_restore_is_unchanged_until_something_changes(self):
        self.assertTrue(self.restored()["changed"])
        self.assertFalse(self.restored()["changed"])
        # A backup is a hard link of each file: what they hold tells.
        node.backup("later")
        self.assertFalse(self.restored()["changed"])
        # One row, in a memtable and the commit log only.
        node.cql("INSERT INTO faults.words (id, word) VALUES (7, 'later')")
        result = self.restored()
        self.assertTrue(result["changed"])
        self.assertEqual(result["restore"]["because"], "`faults.words` was written to: its memtable holds data")
        # One sstable touched.
        table = next((node.folder / "data/data/faults").glob("words-*"))
        next(table.glob("*-Data.db")).touch()
        result = self.restored()
        self.assertTrue(result["changed"])
        self.assertEqual(result["restore"]["because"], "the sstables are not those that the restore before left")
        self.assertFalse(self.restored()["changed"])

    def test_in_place(self):
        host_id = node.host_id()
        node.write("previous", rows=300)
        rig.docker("exec", node.name, "nodetool", "snapshot", "--tag", "mine", "faults")
        result = self.restored(staging="in_place", give_up_previous=True)
        self.assertTrue(result["changed"])
        self.assertEqual(node.host_id(), host_id)
        self.assertIn("mine", node.snapshots())
        self.assertEqual(node.restore(state="rolled_back")["error"], "no_previous_data")


if __name__ == "__main__":
    unittest.main()
