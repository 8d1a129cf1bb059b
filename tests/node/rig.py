"""A node of real Cassandra in real Docker, and the modules run on it as Ansible runs them."""

import hashlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import WhiteListRoundRobinPolicy

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".cache" / "node"
IMAGE = "cassandra-backup-test:5.0"
LABEL = "org.cassandra-backup.project=1"
PATIENCE = 180  # seconds that anything here may take

FAST = (
    "-Dcassandra.skip_wait_for_gossip_to_settle=0 -Dcassandra.ring_delay_ms=2000"
    " -Dcassandra.superuser_setup_delay_ms=0 -XX:TieredStopAtLevel=1"
)


def docker(*arguments, check=True):
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise AssertionError(f"docker {' '.join(arguments)}: {done.stderr}")
    return done.stdout.strip()


def wait_until(what, condition):
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {PATIENCE} s")
        time.sleep(0.1)
    return found


class Node:
    """One node with its data below `FOLDER/<name>/data`, or in what is mounted instead; archives and state beside it."""

    def __init__(self, name, *docker_options, image=IMAGE, protocol_version=5, mounts=None, owner=None, command=()):
        self.name, self.folder = f"cassandra-backup-{name}", FOLDER / name
        self.image, self.protocol_version, self.command = image, protocol_version, command
        self.mounts = {"/var/lib/cassandra": "data"} if mounts is None else mounts
        self.nodetool_login = []
        self.remove()
        if user := docker("inspect", "--format", "{{.Config.User}}", image):
            owner = owner or tuple(map(int, user.split(":")))
        self.folder.mkdir(parents=True)
        for source in self.mounts.values():
            if not source.startswith("volume:"):
                (self.folder / source).mkdir(parents=True, exist_ok=True)
                os.chown(self.folder / source, *(owner or (-1, -1)))
        try:
            self.make(*docker_options)
        except AssertionError:
            print(docker("logs", "--tail", "20", self.name, check=False))
            self.remove()
            raise

    def make(self, *docker_options):
        """A container on the data that is there."""
        volumes = []
        for path, source in self.mounts.items():
            source = source.removeprefix("volume:") if source.startswith("volume:") else self.folder / source
            volumes += ["--volume", f"{source}:{path}"]
        docker(
            "run", "--detach", "--name", self.name, "--label", LABEL, "--restart", "unless-stopped", *volumes,
            "--env", f"JVM_EXTRA_OPTS={FAST}", "--env", "MAX_HEAP_SIZE=448M", "--env", "HEAP_NEWSIZE=100M",
            *docker_options, self.image, *self.command,
        )
        self.wait_for_clients()

    def make_anew(self, image, protocol_version):
        """Another version on the same data: what an upgrade is."""
        docker("stop", self.name)
        docker("rm", self.name)
        self.image, self.protocol_version = image, protocol_version
        self.make()

    def remove(self):
        docker("rm", "--force", "--volumes", self.name, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    # What it is.

    def state(self):
        return json.loads(docker("inspect", self.name))[0]

    def is_running(self):
        return self.state()["State"]["Running"]

    def restart_policy(self):
        return self.state()["HostConfig"]["RestartPolicy"]["Name"]

    def host_id(self):
        return str(self.cql("SELECT host_id FROM system.local")[0].host_id)

    def snapshots(self):
        """The tags of snapshots on the disk."""
        return {path.name for path in (self.folder / "data/data").glob("*/*/snapshots/*")}

    def work(self, level):
        return self.folder / "data/.cassandra_restore-data" / level

    def tree(self):
        """Every file and directory below the mount: size, owner, mode, time, content."""
        found = {}
        for parent, directories, files in os.walk(self.folder / "data"):
            for name in directories + files:
                path = pathlib.Path(parent, name)
                about = path.lstat()
                content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
                found[str(path)] = (about.st_mode, about.st_uid, about.st_gid, about.st_size, about.st_mtime_ns, content)
        return found

    # What is done with it.

    def start(self):
        docker("start", self.name)

    def wait_for_clients(self):
        def answers():
            address = self.address()
            try:
                socket.create_connection((address, 9042), timeout=1).close()
            except OSError:
                return False
            return True

        wait_until(f"{self.name} answers clients", answers)

    def wait_for_exit(self):
        wait_until(f"{self.name} ends", lambda: not self.is_running())
        return self.state()["State"]["ExitCode"]

    def address(self):
        return docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", self.name)

    def cql(self, *statements):
        """The rows of the last statement."""
        address = self.address()
        profile = ExecutionProfile(load_balancing_policy=WhiteListRoundRobinPolicy([address]), request_timeout=60)
        cluster = Cluster(
            [address], execution_profiles={EXEC_PROFILE_DEFAULT: profile}, protocol_version=self.protocol_version
        )
        try:
            session = cluster.connect()
            rows = [list(session.execute(statement)) for statement in statements]
            return rows[-1]
        finally:
            cluster.shutdown()

    def write(self, word, rows=200):
        """Rows that say which time they are of."""
        self.cql(
            "CREATE KEYSPACE IF NOT EXISTS faults WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
            "CREATE TABLE IF NOT EXISTS faults.words (id int PRIMARY KEY, word text)",
            *[f"INSERT INTO faults.words (id, word) VALUES ({id}, '{word}')" for id in range(rows)],
        )
        self.nodetool("flush", "faults")

    def nodetool(self, *words):
        """With what JMX asks for, where it does."""
        return docker("exec", self.name, "nodetool", *self.nodetool_login, *words)

    def words(self):
        """Which words there are, and how many rows have each."""
        counts = {}
        for row in self.cql("SELECT id, word FROM faults.words"):
            counts[row.word] = counts.get(row.word, 0) + 1
        return counts

    def dataset(self, verb, expect="expect.json"):
        """molecule/dataset.py: rows to write, to lose and to find again."""
        command = [
            sys.executable, str(ROOT / "molecule/dataset.py"), verb, self.address(), "--expect",
            str(self.folder / expect), "--protocol-version", str(self.protocol_version),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssertionError(f"dataset.py {verb}: {done.stdout}{done.stderr}")

    # The modules.

    def start_module(self, module, environment=None, **options):
        args = {
            "_ansible_module_name": module, "container": self.name, "state_dir": str(self.folder / "state"),
            "backup_dir": str(self.folder / "backup"), "wait_timeout": PATIENCE, **options,
        }
        if "src" in options:
            del args["backup_dir"]
        path = self.folder / f"args-{time.monotonic_ns()}"
        path.write_text(json.dumps({name: value for name, value in args.items() if value is not None}))
        return subprocess.Popen(
            [program(), str(path)], stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
        )

    def run_module(self, module, environment=None, **options):
        """Its result; None where it was killed."""
        output, _ = self.start_module(module, environment, **options).communicate(timeout=2 * PATIENCE)
        return json.loads(output) if output else None

    def backup(self, tag, **options):
        result = self.run_module("cassandra_backup", tag=tag, **options)
        assert not result.get("failed"), result
        return self.folder / "backup" / f"{tag}.tgz"

    def restore(self, **options):
        return self.run_module("cassandra_restore", **options)


def program():
    """The debug build, which can be told to end after any step: see src/effect.rs."""
    return os.environ["CASSANDRA_BACKUP_PROGRAM"]

