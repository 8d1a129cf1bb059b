"""What a real node feels of a backup, and how long a restore keeps it from its clients: `make bench-node`."""

import concurrent.futures
import contextlib
import itertools
import os
import pathlib
import random
import re
import resource
import shutil
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/node"))
import rig  # noqa: E402
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable  # noqa: E402
from cassandra.policies import WhiteListRoundRobinPolicy  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "3"))
SIZES = [float(size) for size in os.environ.get("GIGABYTES", "0.1 1 4").split()]
SECONDS = float(os.environ.get("LOAD_SECONDS", "20"))  # of load without a backup
ROW = 16 << 10


@contextlib.contextmanager
def session(node):
    address = node.address()
    profile = ExecutionProfile(load_balancing_policy=WhiteListRoundRobinPolicy([address]), request_timeout=120)
    cluster = Cluster([address], execution_profiles={EXEC_PROFILE_DEFAULT: profile}, protocol_version=5)
    try:
        yield cluster.connect()
    finally:
        cluster.shutdown()


def fill(node, gigabytes, begin=0):
    """Rows of half random, half repeated bytes: about what LZ4 makes of real ones."""
    with session(node) as cql:
        cql.execute("CREATE KEYSPACE IF NOT EXISTS bench WITH replication = "
                    "{'class': 'SimpleStrategy', 'replication_factor': 1}")
        cql.execute("CREATE TABLE IF NOT EXISTS bench.rows (id int PRIMARY KEY, body blob)")
        insert = cql.prepare("INSERT INTO bench.rows (id, body) VALUES (?, ?)")
        count = int(gigabytes * 1e9 / (ROW * 0.75))

        def write(number):
            body = random.randbytes(ROW // 2) + bytes([number % 251]) * (ROW // 4) + random.randbytes(ROW // 4)
            for _ in range(1000):
                try:
                    return cql.execute(insert, (number, body))
                except NoHostAvailable:  # The driver's one connection is full.
                    time.sleep(0.05)
            raise TimeoutError(f"row {number} could not be written")

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            for _ in pool.map(write, range(begin, begin + count)):
                pass
    rig.docker("exec", node.name, "nodetool", "flush", "bench")
    return count


def multiply(node, gigabytes):
    """The sstables that are there, again and again under other numbers: rows that come by CQL would take too long."""
    node.cql("ALTER TABLE bench.rows WITH compaction = {'class': 'SizeTieredCompactionStrategy', 'enabled': 'false'}")
    rig.docker("stop", node.name)
    [table] = (node.folder / "data/data/bench").glob("rows-*")
    files = [file for file in table.iterdir() if file.is_file()]
    numbers = itertools.count(1000)
    while live_bytes(node) < gigabytes * 1e9:
        new = {}
        for file in files:
            version, number, rest = file.name.split("-", 2)
            to = table / f"{version}-{new.setdefault(number, next(numbers))}-{rest}"
            shutil.copy2(file, to)
            os.chown(to, file.stat().st_uid, file.stat().st_gid)
    node.start()
    node.wait_for_clients()


def live_bytes(node):
    folder = node.folder / "data/data"
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and "snapshots" not in path.parts)


def timed(work):
    begun = time.monotonic()
    result = work()
    return time.monotonic() - begun, result


def restart(node):
    rig.docker("stop", "--time", "120", node.name)
    node.start()
    node.wait_for_clients()


def the_plain_way(node, archive):
    rig.docker("stop", "--time", "120", node.name)
    for name in ["data", "commitlog", "saved_caches", "hints"]:
        shutil.rmtree(node.folder / "data" / name, ignore_errors=True)
    (node.folder / "data/data").mkdir()
    skip = ["--exclude=cassandra_backup.json", "--exclude=stargz.index.json"]
    subprocess.run(["tar", "xzf", archive, *skip, "-C", node.folder / "data/data"], check=True)
    shutil.chown(node.folder / "data/data", 999, 999)
    node.start()
    node.wait_for_clients()


def downtime():
    print("\n### Downtime of a restore, s (median)\n")
    print("| live data | ours | the floor: stop, start | stop; rm; tar xzf; start | whole restore, ours |")
    print("|---|---|---|---|---|", flush=True)
    node, rows, held = rig.Node("bench"), 0, 0.0
    try:
        for size in SIZES:
            rows += fill(node, size - held, rows)
            held = size
            archive = node.backup("bench", force=True)
            ours, whole, floor, plain = [], [], [], []
            for _ in range(ROUNDS):
                floor.append(timed(lambda: restart(node))[0])
                seconds, result = timed(lambda: node.restore(tag="bench", force=True))
                assert not result.get("failed"), result
                ours.append(result["downtime_seconds"])
                whole.append(seconds)
                plain.append(timed(lambda: the_plain_way(node, archive))[0])
                # What was written since makes the next restore one that has something to do.
                node.cql("INSERT INTO bench.rows (id, body) VALUES (-1, 0xff)")
            cells = [statistics.median(values) for values in (ours, floor, plain, whole)]
            print(f"| {live_bytes(node) / 1e9:.2f} GB | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |", flush=True)
    finally:
        node.remove()


class Load:
    """Reads and writes of one row each, one after another in each of a few threads, at a steady rate."""

    def __init__(self, cql, rows, rate=400, threads=8):
        self.read = cql.prepare("SELECT body FROM bench.rows WHERE id = ?")
        self.write = cql.prepare("INSERT INTO bench.rows (id, body) VALUES (?, ?)")
        self.cql, self.rows, self.pause, self.threads = cql, rows, threads / rate, threads

    def during(self, work):
        """p50 and p99 in ms, and how many requests, while `work` is at work; what that took."""
        over, times = threading.Event(), []

        def client(seed):
            own, due = random.Random(seed), time.monotonic()
            while not over.is_set():
                due += self.pause
                time.sleep(max(0, due - time.monotonic()))
                hot = own.randrange(self.rows // 10)  # the hot tenth
                begun = time.monotonic()
                if own.random() < 0.5:
                    self.cql.execute(self.read, (hot,))
                else:
                    self.cql.execute(self.write, (hot, own.randbytes(ROW)))
                times.append((time.monotonic() - begun) * 1000)

        with concurrent.futures.ThreadPoolExecutor(self.threads) as pool:
            clients = [pool.submit(client, seed) for seed in range(self.threads)]
            try:
                seconds, _ = timed(work)
            finally:
                over.set()
            for done in clients:
                done.result()
        times.sort()
        return times[len(times) // 2], times[len(times) * 99 // 100], len(times), seconds


def resident(node):
    """Bytes of the node's live sstables in the page cache, as `fincore` has them."""
    files = [str(path) for path in (node.folder / "data/data/bench").glob("*/*-Data.db")]
    told = subprocess.run(["fincore", "--bytes", "--noheadings", "--output", "RES", *files], capture_output=True, text=True,
                          check=True)
    return sum(int(line) for line in told.stdout.split())


def pigz(node):
    rig.docker("exec", node.name, "nodetool", "snapshot", "-t", "bench-pigz")
    folders = [str(path.relative_to(node.folder)) for path in (node.folder / "data/data").glob("*/*/snapshots/bench-pigz")]
    subprocess.run(f"tar cf - -C {node.folder} {' '.join(folders)} | pigz -1 -p2 > {node.folder}/pigz.tgz", shell=True, check=True)
    rig.docker("exec", node.name, "nodetool", "clearsnapshot", "-t", "bench-pigz")
    subprocess.run(["rm", "-f", node.folder / "pigz.tgz"], check=True)


def load():
    size = float(os.environ.get("LOAD_GIGABYTES", "1"))
    print(f"\n### What clients of a node feel ({size:g} GB, 400 requests/s, half reads, half writes)\n")
    print("| | p50 ms | p99 ms | requests | s | hot set in the page cache: before, after, MB |")
    print("|---|---|---|---|---|---|", flush=True)
    node = rig.Node("bench")
    try:
        rows = fill(node, size)
        with session(node) as cql:
            clients = Load(cql, rows)
            clients.during(lambda: time.sleep(SECONDS))
            for _ in range(ROUNDS):
                for name, work in [
                    ("nothing else", lambda: time.sleep(SECONDS)),
                    ("our backup", lambda: node.backup("load", force=True, verify=False)),
                    ("our backup, low_priority: false", lambda: node.backup("load", force=True, verify=False, low_priority=False)),
                    ("tar, pigz -1 -p2 of a snapshot", lambda: pigz(node)),
                ]:
                    subprocess.run("sync; echo 3 > /proc/sys/vm/drop_caches", shell=True, check=True)
                    clients.during(lambda: time.sleep(SECONDS / 2))
                    before = resident(node)
                    p50, p99, count, seconds = clients.during(work)
                    after = resident(node)
                    print(f"| {name} | {p50:.1f} | {p99:.1f} | {count} | {seconds:.1f} | {before / 1e6:.0f}, "
                          f"{after / 1e6:.0f} |", flush=True)
    finally:
        node.remove()


def costs():
    print("\n### What a task costs\n")
    print("| | s (median) |")
    print("|---|---|", flush=True)
    size = float(os.environ.get("COST_GIGABYTES", "10"))
    node = rig.Node("bench")
    try:
        fill(node, 0.5)
        multiply(node, size)
        node.backup("cost")
        result = node.restore(tag="cost")
        assert result["changed"], result
        todo = [
            (f"backup, unchanged ({size:g} GB verified)", lambda: node.run_module("cassandra_backup", tag="cost")),
            (f"restore, unchanged ({size:g} GB proven)", lambda: node.restore(tag="cost")),
            ("info", lambda: node.run_module("cassandra_backup_info")),
            ("nodetool version, by docker exec", lambda: rig.docker("exec", node.name, "nodetool", "version")),
            ("docker exec true", lambda: rig.docker("exec", node.name, "true")),
        ]
        for name, work in todo:
            times = []
            for _ in range(ROUNDS):
                seconds, result = timed(work)
                assert not isinstance(result, dict) or not result["changed"], result
                times.append(seconds)
            print(f"| {name} | {statistics.median(times):.2f} |", flush=True)
        print(f"\nThe executable, which Ansible copies to the host for each task: {os.path.getsize(rig.program())} bytes.")
    finally:
        node.remove()


def rate():
    print("\n### rate_limit\n\n| asked, MiB/s | read, MiB/s |\n|---|---|", flush=True)
    node = rig.Node("bench")
    try:
        fill(node, 1)
        for limit in [20, 50, 100]:
            result = node.run_module("cassandra_backup", tag="rate", force=True, verify=False, rate_limit=f"{limit}MB")
            [seconds] = [step["seconds"] for step in result["steps"] if step["name"] == "pack"]
            print(f"| {limit} | {result['backup']['bytes'] / (1 << 20) / seconds:.1f} |", flush=True)
    finally:
        node.remove()


def processor_seconds(node):
    """Of what was run here and has ended with the node's container, where `nodetool` runs; of the whole machine."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = rig.docker("exec", node.name, "sh", "-c",
                      "cd /sys/fs/cgroup; cat cpuacct/cpuacct.usage 2>/dev/null || head -1 cpu.stat")
    container = int(told.split()[-1]) / (1e6 if "usage_usec" in told else 1e9)
    user, nice, system = pathlib.Path("/proc/stat").read_text().split(maxsplit=4)[1:4]
    machine = (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")
    return usage.ru_utime + usage.ru_stime + container, machine


def medusa():
    """A full backup by Cassandra Medusa to local storage, which copies the files and hashes them, beside ours."""
    size = float(os.environ.get("MEDUSA_GIGABYTES", "1"))
    print(f"\n### A whole backup of a node with {size:g} GB (median)\n")
    print("| | s | times Medusa | processor s | times Medusa | of the whole machine | GB kept |")
    print("|---|---|---|---|---|---|---|", flush=True)
    node = rig.Node("bench")
    try:
        fill(node, size)
        rig.wait_until("compactions end", lambda: re.search(
            r"pending tasks:?\s+0\b", rig.docker("exec", node.name, "nodetool", "compactionstats")))
        command, bucket, archives = medusa_command(node), node.folder / "medusa/bucket", node.folder / "backup"

        def by_medusa():
            with (node.folder / "medusa/log").open("w") as log:
                subprocess.run([*command, "backup-node", "--backup-name=beside", "--mode=full"], check=True, stderr=log)

        def by_medusa_to_the_disk():
            by_medusa()
            subprocess.run(["sync", "--file-system", bucket], check=True)

        def by_us(**options):
            result = node.run_module("cassandra_backup", tag="beside", threads=2, **options)
            assert result["changed"], result
            for step in result["steps"] if not options else []:
                steps.setdefault(step["name"], []).append(step["seconds"])

        steps = {}
        # Medusa gives itself the lowest priority, as ours has by default.
        ways = {
            "Medusa, full": by_medusa,
            "Medusa, full; `sync`": by_medusa_to_the_disk,
            "**ours**": by_us,
            "ours, `verify: false`": lambda: by_us(verify=False),
            "ours, `verify: false`, `compression: none`": lambda: by_us(verify=False, compression="none"),
        }
        taken = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, work in ways.items():
                shutil.rmtree(bucket, ignore_errors=True)
                shutil.rmtree(archives, ignore_errors=True)
                os.sync()
                before = processor_seconds(node)
                seconds, _ = timed(work)
                after = processor_seconds(node)
                kept = sum(path.stat().st_size for path in [*bucket.rglob("*"), *archives.rglob("*")] if path.is_file())
                # Medusa ends well also where there was no snapshot to copy.
                assert "ours" in name or kept > 0.95 * live_bytes(node), (name, kept, live_bytes(node))
                taken[name].append((seconds, after[0] - before[0], after[1] - before[1], kept / 1e9))
        medians = {name: [statistics.median(values) for values in zip(*each)] for name, each in taken.items()}
        [base, processor, _, _] = medians["Medusa, full"]
        for name, (seconds, own, machine, kept) in medians.items():
            print(f"| {name} | {seconds:.1f} | {seconds / base:.2f} | {own:.1f} | {own / processor:.2f} | "
                  f"{machine:.1f} | {kept:.2f} |", flush=True)
        told = [f"{name} {statistics.median(seconds):.2f}" for name, seconds in steps.items()]
        print(f"\nOurs, s (median): {', '.join(told)}.")
    finally:
        node.remove()


def medusa_command(node):
    """Medusa runs beside the node's files, here on the host, and asks by CQL and by `nodetool` in the container."""
    folder = node.folder / "medusa"
    folder.mkdir()
    nodetool = folder / "nodetool"
    nodetool.write_text(f'#!/bin/sh\nexec docker exec {node.name} nodetool "$@"\n')
    nodetool.chmod(0o755)
    config = folder / "cassandra.yaml"
    config.write_text(f"listen_address: {node.address()}\ndata_file_directories: [{node.folder}/data/data]\n")
    settings = folder / "medusa.ini"
    settings.write_text(
        f"[cassandra]\nconfig_file = {config}\nnodetool_executable = {nodetool}\nresolve_ip_addresses = False\n"
        f"use_sudo = False\nnodetool_flags =\n"
        f"[storage]\nstorage_provider = local\nbase_path = {folder}\nbucket_name = bucket\nfqdn = {node.address()}\n"
    )
    return [rig.ROOT / ".cache/medusa-venv/bin/medusa", "--config-file", settings]


def main():
    rig.FOLDER.mkdir(parents=True, exist_ok=True)
    for part in os.environ.get("PARTS", "downtime load costs rate").split():
        {"downtime": downtime, "load": load, "costs": costs, "rate": rate, "medusa": medusa}[part]()


main()
