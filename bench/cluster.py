"""What Ansible itself costs on many hosts: the playbooks over a cluster of fake nodes, `make bench-cluster`.

All hosts are this machine, each with a Docker Engine of its own that is fake and a few kilobytes of data, so that what
is measured is the controller. Run with the path of the executable `fake_node`.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
SIZES = [int(count) for count in os.environ.get("NODES", "30").split()]
FORKS = [int(count) for count in os.environ.get("FORKS", "").split()]  # without it 5, and as many as there are nodes
LOGS = ROOT / ".cache/bench-cluster"
BARE = 20  # tasks of a play that does nothing


class Cluster:
    """Fake nodes that are one ring, and an inventory of them; what is started is ended by `end`."""

    def __init__(self, fake_node, count):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="cluster-"))
        self.names = [f"node{number:03}" for number in range(1, count + 1)]
        sockets = [self.folder / name / "docker.sock" for name in self.names]
        self.nodes = subprocess.Popen([fake_node, *(str(socket.parent) for socket in sockets)])
        while not all(socket.exists() for socket in sockets):
            assert self.nodes.poll() is None, "the fake nodes have ended"
            time.sleep(0.1)
        own = f"{self.folder}/{{{{ inventory_hostname }}}}"
        inventory = {"cassandra": {"hosts": dict.fromkeys(self.names, {}), "vars": {
            "ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "ansible_remote_tmp": f"{own}/tmp", "ansible_async_dir": f"{own}/async",
            "cassandra_container": "node", "cassandra_backup_docker_host": f"unix://{own}/docker.sock",
            "cassandra_backup_dir": f"{own}/backup", "cassandra_backup_state_dir": f"{own}/state",
            "cassandra_backup_fetch_dir": f"{self.folder}/fetched"}}}
        (self.folder / "inventory.json").write_text(json.dumps(inventory))

    def lose_data(self):
        for lost in self.folder.glob("node*/cassandra/data/shop/orders-*/nb-1-*"):
            lost.unlink()

    def play(self, playbook, name, forks, *extra):
        command = ["ansible-playbook", "--inventory", self.folder / "inventory.json", "--forks", str(forks), playbook, *extra]
        return Run(list(map(str, command)), f"{len(self.names)}-{name.replace(' ', '_')}-{forks}")

    def bare(self, name, task, forks):
        """A play of tasks that do nothing; seconds of the processor that one of them takes on one host."""
        playbook = self.folder / "bare.json"
        playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task] * BARE}]))
        return self.play(playbook, f"bare {name}", forks)

    def skew(self, tag):
        """Seconds between the first snapshot of a set and the last, as its manifest has them."""
        [manifest] = self.folder.glob(f"fetched/*/{tag}/set.json")
        return json.loads(manifest.read_text())["skew_seconds"]

    def end(self):
        self.nodes.kill()
        self.nodes.wait()
        shutil.rmtree(self.folder)


class Run:
    """One ansible-playbook that has ended: its times, its memory, how many tasks it had."""

    def __init__(self, command, log):
        begun = time.monotonic()
        path = LOGS / f"{log}.log"
        env = os.environ | {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.profile_tasks"}
        with path.open("w") as output:
            child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, env=env)
        self.peak, self.alone, over = 0, 0.0, threading.Event()
        sampler = threading.Thread(target=self.sample, args=(child.pid, over))
        sampler.start()
        _, status, used = os.wait4(child.pid, 0)
        over.set()
        sampler.join()
        self.seconds = time.monotonic() - begun
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {child.returncode}: see {path}")
        self.processor = used.ru_utime + used.ru_stime
        self.text = path.read_text()
        self.tasks = len(re.findall(r"^TASK \[", self.text, re.M))
        recap = self.text[self.text.rindex("PLAY RECAP"):]
        self.results = sum(map(int, re.findall(r"(?:ok|skipped)=(\d+)", recap)))
        self.changed = sum(map(int, re.findall(r"changed=(\d+)", recap)))

    def cells(self, tasks):
        return (f"{self.seconds:.0f} | {self.processor:.0f} | {self.alone:.0f} | {tasks} "
                f"| {self.processor / self.results * 1000:.0f} | {self.peak / 1024:.0f}")

    def sample(self, parent, over):
        """Their memory at its peak, and the seconds of the processor that the first of them alone has used."""
        ticks = os.sysconf("SC_CLK_TCK")
        while not over.wait(0.3):
            with contextlib.suppress(OSError):  # It has ended.
                fields = pathlib.Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()
                self.alone = (int(fields[11]) + int(fields[12])) / ticks
                self.peak = max(self.peak, sum(map(proportional, processes_of(parent))))


def processes_of(parent):
    """ansible-playbook and all its forks; not the modules that they start, which on other machines are the host's."""
    command = pathlib.Path(f"/proc/{parent}/cmdline").read_bytes()
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cmdline").read_bytes() == command:
                yield process


def proportional(process):
    """KiB of a process (PSS): a page that forks share is counted once among all of them."""
    with contextlib.suppress(OSError, TypeError):  # One that is ending has no such line.
        return int(re.search(r"^Pss:\s+(\d+)", (process / "smaps_rollup").read_text(), re.M)[1])
    return 0


def clusters(fake_node):
    """Each size with few forks and with as many as it has nodes."""
    for count in SIZES:
        cluster = Cluster(fake_node, count)
        try:
            for forks in FORKS or sorted({min(5, count), count}):
                yield cluster, forks
        finally:
            cluster.end()


def the_playbooks(cluster, forks):
    tag = ["--extra-vars", f"tag=forks{forks}"]
    for name, playbook, is_new in [("backup", "backup", True), ("backup, unchanged", "backup", False),
                                   ("restore", "restore", True), ("restore, unchanged", "restore", False)]:
        if name == "restore":
            cluster.lose_data()
        run = cluster.play(f"playbooks/{playbook}.yml", name, forks, *tag)
        assert (run.changed > 0) == is_new, f"{name}: {run.changed} changed"
        yield name, run


def playbooks(fake_node):
    print("\n### The playbooks\n")
    print("| nodes | forks | | s | CPU s | of them one process | tasks | CPU ms a task and host | peak MiB (PSS) | skew s |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for cluster, forks in clusters(fake_node):
        for name, run in the_playbooks(cluster, forks):
            skew = f"{cluster.skew(f'forks{forks}'):.1f}" if name == "backup" else ""
            print(f"| {len(cluster.names)} | {forks} | {name} | {run.cells(run.tasks)} | {skew} |", flush=True)


def bare(fake_node):
    print(f"\n### Plays of {BARE} tasks that do nothing\n")
    print("| nodes | forks | module | s | CPU s | of them one process | tasks | CPU ms a task and host | peak MiB (PSS) |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for cluster, forks in clusters(fake_node):
        for name, task in [
            ("debug", {"ansible.builtin.debug": {"msg": "nothing"}}),
            ("raw", {"ansible.builtin.raw": "true"}),
            ("ping", {"ansible.builtin.ping": {}}),
            ("cassandra_backup_info", {"cassandra_backup_info": {"backup_dir": str(cluster.folder / "none")}}),
        ]:
            run = cluster.bare(name, task, forks)
            print(f"| {len(cluster.names)} | {forks} | `{name}` | {run.cells(BARE)} |", flush=True)


def copies(fake_node):
    """What goes to a host is what Ansible says that it puts there, of a cluster of three."""
    print("\n### What Ansible copies to a host\n")
    print("| | files | of them our executable | MB |")
    print("|---|---|---|---|", flush=True)
    cluster = Cluster(fake_node, 3)
    try:
        for name, playbook in [("backup", "backup"), ("restore", "restore")]:
            if name == "restore":
                cluster.lose_data()
            run = cluster.play(f"playbooks/{playbook}.yml", f"copies {name}", 3, "--extra-vars", "tag=copies", "-vvv")
            put = re.findall(r"^<node001> PUT (\S+) TO", run.text, re.M)
            ours = [os.path.getsize(path) for path in put if path.startswith(str(ROOT / "library"))]
            print(f"| {name} | {len(put)} | {len(ours)} | {sum(ours) / 1e6:.0f} |", flush=True)
    finally:
        cluster.end()


def main():
    LOGS.mkdir(parents=True, exist_ok=True)
    fake_node = os.path.realpath(sys.argv[1])
    for part in os.environ.get("PARTS", "playbooks bare copies").split():
        {"playbooks": playbooks, "bare": bare, "copies": copies}[part](fake_node)


main()
