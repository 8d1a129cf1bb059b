"""JMX's password: never in a command line, an environment, a log, a result, a diff, or a file that outlives the run."""

import json
import os
import pathlib
import subprocess
import threading
import unittest

import rig

USER, PASSWORD = "ops", "s3cret-aNd-found-nowhere"
node = None


def setUpModule():
    global node
    folder = rig.FOLDER / "secrets-jmx"
    folder.mkdir(parents=True, exist_ok=True)
    # JMX reads it as Cassandra's user, and only where nobody else can.
    login = folder / "jmxremote.password"
    login.unlink(missing_ok=True)
    login.write_text(f"{USER} {PASSWORD}\n")
    os.chown(login, 999, 999)
    login.chmod(0o400)
    access = folder / "jmxremote.access"
    access.write_text(f"{USER} readwrite\n")
    node = rig.Node(
        "secrets", "--env", "LOCAL_JMX=no", "--volume", f"{login}:/etc/cassandra/jmxremote.password",
        "--env", f"JVM_EXTRA_OPTS={rig.FAST} -Dcom.sun.management.jmxremote.access.file=/jmxremote.access",
        "--volume", f"{access}:/jmxremote.access:ro",
    )
    node.cql("CREATE KEYSPACE faults WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
    node.cql("CREATE TABLE faults.words (id int PRIMARY KEY, word text)")
    node.cql("INSERT INTO faults.words (id, word) VALUES (1, 'archived')")
    node.password_file = folder / "for-the-module"
    node.password_file.write_text(PASSWORD + "\n")
    node.password_file.chmod(0o600)
    # Known to hold it: the node's own, what the module is given, what Ansible is told.
    node.known = {login, node.password_file, node.folder / "vars.json"}


def tearDownModule():
    node.remove()


class Watch:
    """Looks at every process of this machine, those of the containers among them, until it is left."""

    def __init__(self):
        self.seen, self.looks, self.ended = set(), 0, threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def run(self):
        while not self.ended.is_set():
            self.looks += 1
            for process in pathlib.Path("/proc").iterdir():
                if not process.name.isdigit() or int(process.name) == os.getpid():
                    continue
                for what in ["cmdline", "environ"]:
                    try:
                        if PASSWORD.encode() in (process / what).read_bytes():
                            self.seen.add(f"{what} of {(process / 'comm').read_text().strip()}")
                    except OSError:
                        pass


def files_with_it(*folders):
    """Every file below that holds the password, but for those that have to."""
    found = subprocess.run(
        ["grep", "--recursive", "--files-with-matches", "--fixed-strings", "--text", PASSWORD, *map(str, folders)],
        capture_output=True, text=True, check=False,
    ).stdout.splitlines()
    # The node's own is in the container's layer as well, where it is a mount.
    own = {path for path in map(pathlib.Path, found) if path.name.endswith("jmxremote.password")}
    return {pathlib.Path(path) for path in found} - node.known - own


class Secrets(unittest.TestCase):
    def play(self, *modules):
        """Runs tasks as an operator does, with all that Ansible can be made to say; its whole output."""
        login = {"jmx_username": USER, "jmx_password": "{{ secret }}"}
        tasks = [{"name": f"It is done: {module}", module: {**options, **(login if "jmx_username" not in options else {})}}
                 for module, options in modules]
        plays = [{"name": "With a password", "hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}]
        (node.folder / "play.yml").write_text(json.dumps(plays))
        (node.folder / "vars.json").write_text(json.dumps({"secret": PASSWORD}))
        command = ["ansible-playbook", "-vvv", "--diff", "-e", f"@{node.folder}/vars.json", str(node.folder / "play.yml")]
        environment = {
            **os.environ, "ANSIBLE_LIBRARY": str(node.folder / "library"), "ANSIBLE_LOCAL_TEMP": str(node.folder / "tmp"),
            "ANSIBLE_REMOTE_TEMP": str(node.folder / "tmp"), "ANSIBLE_LOG_PATH": str(node.folder / "ansible.log"),
        }
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def setUp(self):
        library = node.folder / "library"
        library.mkdir(exist_ok=True)
        for name in ["cassandra_backup", "cassandra_restore", "cassandra_backup_info"]:
            (library / name).unlink(missing_ok=True)
            os.link(rig.program(), library / name)

    def common(self, **options):
        return {"container": node.name, "state_dir": str(node.folder / "state"), "backup_dir": str(node.folder / "backup"), **options}

    def test_the_watch_sees_what_it_looks_for(self):
        with Watch() as watch:
            subprocess.run(["sleep", "0.5"], env={"SECRET": PASSWORD, "PATH": os.environ["PATH"]}, check=True)
            subprocess.run(["sh", "-c", "sleep 0.5; :", PASSWORD], check=True)
        self.assertEqual(watch.seen, {"environ of sleep", "cmdline of sh"})
        (node.folder / "leak").write_text(f"x{PASSWORD}x")
        self.assertEqual(files_with_it(node.folder), {node.folder / "leak"})
        (node.folder / "leak").unlink()

    def test_no_run_leaves_it_anywhere(self):
        file = {"jmx_username": USER, "jmx_password_file": str(node.password_file)}
        with Watch() as watch:
            said = self.play(
                ("cassandra_backup", self.common(tag="one")),
                ("cassandra_backup", self.common(tag="two", **file)),
                ("cassandra_restore", self.common(tag="one")),
                ("cassandra_restore", self.common(tag="two", **file)),
                ("cassandra_restore", self.common(state="rolled_back")),
            )
        self.assertIn("'archived'", str(node.cql("SELECT word FROM faults.words")))
        self.assertGreater(watch.looks, 100)
        self.assertEqual(watch.seen, set())
        self.assertNotIn(PASSWORD, said)
        self.assertIn("VALUE_SPECIFIED_IN_NO_LOG_PARAMETER", said)
        # Args, journals, archives (unpacked), Ansible's log and temporary files, the data and the container's layer.
        for tag in ["one", "two"]:
            tree = node.folder / f"tree-{tag}"
            tree.mkdir()
            subprocess.run(["tar", "-xzf", node.folder / f"backup/{tag}.tgz", "-C", tree], check=True)
        layer = node.folder / "layer"
        layer.mkdir()
        for line in rig.docker("diff", node.name).splitlines():
            path = line.split(" ", 1)[1]
            target = layer / path.strip("/").replace("/", "_")
            rig.docker("cp", f"{node.name}:{path}", str(target), check=False)
        logs = node.folder / "docker.log"
        logs.write_text(subprocess.run(["docker", "logs", node.name], capture_output=True, text=True, check=True).stdout)
        found = files_with_it(node.folder, "/tmp", "/var/lib/cassandra_backup", pathlib.Path.home() / ".ansible")
        self.assertEqual(found, set())

    def test_a_wrong_one_is_told_and_not_shown(self):
        result = node.run_module("cassandra_backup", tag="x", jmx_username=USER, jmx_password="wr0ng-one")
        self.assertTrue(result["failed"])
        self.assertNotIn("wr0ng-one", json.dumps(result))
        self.assertIn("Invalid username or password", result["msg"])


if __name__ == "__main__":
    unittest.main()
