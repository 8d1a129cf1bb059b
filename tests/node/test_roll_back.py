"""Roll-back on real Cassandra: whatever keeps the restored node from being the archive's, the old one serves again."""

import pathlib
import shutil
import subprocess
import threading
import unittest

import rig

node = None


def setUpModule():
    global node
    options = rig.FOLDER / "roll-back-options"
    options.parent.mkdir(parents=True, exist_ok=True)
    source = rig.ROOT / "molecule/images/cassandra-5.0/conf/jvm17.options"
    shutil.copy(source, options)
    node = rig.Node("roll-back", "--volume", f"{options}:/etc/cassandra/jvm17.options")
    node.options, node.good_options = options, source.read_text()
    node.write("archived")
    node.backup("good")
    node.write("previous", rows=300)


def tearDownModule():
    node.remove()


def changed(change):
    """The good archive with other files in it, and all digests right."""
    tree, archive = node.folder / "tree", node.folder / "changed.tgz"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir()
    subprocess.run(["tar", "-xzf", node.folder / "backup/good.tgz", "-C", tree], check=True)
    change(tree)
    packer = pathlib.Path(rig.program()).parent / "examples/pack"
    subprocess.run([packer, "repack", tree, archive], check=True, stdout=subprocess.DEVNULL)
    return archive


def local_sstables(tree):
    (directory,) = tree.glob("system/local-*")
    return directory, sorted(directory.glob("*-Data.db"))


class RollBack(unittest.TestCase):
    def has_its_previous_data(self, result, host_id):
        self.assertTrue(result["failed"], result)
        self.assertIs(result["rolled_back"], True, result)
        self.assertIn("The previous data is back in place", result["msg"])
        node.wait_for_clients()
        self.assertEqual(node.words(), {"previous": 300})
        self.assertEqual((node.host_id(), node.restart_policy()), (host_id, "unless-stopped"))
        self.assertFalse(node.work("previous").exists())

    def test_an_archive_on_which_cassandra_does_not_start(self):
        def garbage(tree):
            _, sstables = local_sstables(tree)
            for sstable in sstables:
                sstable.write_bytes(b"garbage" * (sstable.stat().st_size // 7 + 1))

        host_id = node.host_id()
        result = node.restore(src=str(changed(garbage)))
        self.has_its_previous_data(result, host_id)
        # Cassandra's own last error lines.
        self.assertEqual(result["error"], "container_died", result["msg"])
        self.assertRegex(result["msg"], r"its log ends: .*(ERROR|Exception).*(orrupt|system)")

    def test_an_archive_on_which_cassandra_starts_as_somebody_else(self):
        def nobody(tree):
            directory, _ = local_sstables(tree)
            for file in directory.iterdir():
                file.unlink()

        host_id = node.host_id()
        result = node.restore(src=str(changed(nobody)))
        self.has_its_previous_data(result, host_id)
        self.assertEqual(result["error"], "not_the_archives_node", result["msg"])
        self.assertIn(f"the archive's is `{host_id}`", result["msg"])

    def test_an_option_of_java_that_breaks_the_start(self):
        def break_once():
            # While it is stopped for the swap; mended once it has died of it.
            rig.wait_until("the stop", lambda: not node.is_running())
            node.options.write_text(node.good_options + "-XX:+NoSuchOption\n")
            rig.wait_until("the start", lambda: node.state()["State"]["ExitCode"] == 1)
            node.options.write_text(node.good_options)

        host_id = node.host_id()
        breaking = threading.Thread(target=break_once)
        breaking.start()
        result = node.restore(tag="good")
        breaking.join()
        self.has_its_previous_data(result, host_id)
        self.assertIn("Unrecognized VM option 'NoSuchOption'", result["msg"])

    def test_by_hand_after_each_phase(self):
        host_id = node.host_id()
        for state in ["swapped", "started", "restored"]:
            with self.subTest(state):
                result = node.restore(tag="good", state=state)
                self.assertFalse(result.get("failed"), result)
                if state != "swapped":
                    self.assertEqual(node.words(), {"archived": 200})
                result = node.restore(state="rolled_back")
                self.assertFalse(result.get("failed"), result)
                node.wait_for_clients()
                self.assertEqual((node.words(), node.host_id()), ({"previous": 300}, host_id))
                self.assertEqual(node.restart_policy(), "unless-stopped")


if __name__ == "__main__":
    unittest.main()
