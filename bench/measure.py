"""Commands side by side: each once a round, in turn, so that what else the machine does is everyone's."""

import os
import pathlib
import statistics
import subprocess
import time

DROP_CACHES = pathlib.Path("/proc/sys/vm/drop_caches")


class Way:
    """One way to do something: a shell command, and what is to be removed before each of its runs."""

    def __init__(self, name, command, clear=()):
        self.name, self.command, self.clear = name, command, clear
        self.walls, self.processors, self.peak = [], [], 0

    def run(self, cold=False, is_counted=True):
        for path in self.clear:
            subprocess.run(["rm", "-rf", path], check=True)
        if cold:
            os.sync()
            DROP_CACHES.write_text("3\n", encoding="ascii")
        begun = time.monotonic()
        child = subprocess.Popen(["bash", "-o", "pipefail", "-c", self.command], stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        wall = time.monotonic() - begun
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{self.command} ended with {child.returncode}")
        if is_counted:
            self.walls.append(wall)
            self.processors.append(used.ru_utime + used.ru_stime)
            self.peak = max(self.peak, used.ru_maxrss)  # of the largest process, in KiB

    @property
    def wall(self):
        return statistics.median(self.walls)

    @property
    def processor(self):
        return statistics.median(self.processors)


def side_by_side(title, ways, rounds, size=0, cold=False, output=None):
    """Runs them all and prints a table: the first is ours, the others' ratios are how many times longer they took."""
    for round_number in range(rounds + (0 if cold else 1)):
        for way in ways:
            # The first round warms the cache, and counts for nobody.
            way.run(cold, is_counted=cold or round_number > 0)
    ours = ways[0]
    columns = ["", "s (median)", "fastest-slowest", "MB/s", "CPU s", "peak MiB", "times ours"]
    print(f"\n### {title}{', cold' if cold else ''}\n")
    print("| " + " | ".join(columns + (["output MB"] if output else [])) + " |")
    print("|" + "---|" * (len(columns) + bool(output)))
    for way in ways:
        cells = [
            way.name, f"{way.wall:.2f}", f"{min(way.walls):.2f}-{max(way.walls):.2f}",
            f"{size / 1e6 / way.wall:.0f}" if size else "", f"{way.processor:.2f}", f"{way.peak / 1024:.0f}",
            f"{way.wall / ours.wall:.2f}",
        ]
        if output:
            cells.append(f"{os.path.getsize(output[way.name]) / 1e6:.1f}" if way.name in output else "")
        print("| " + " | ".join(cells) + " |", flush=True)
    return {way.name: way.wall / ours.wall for way in ways}


def tree_size(folder):
    """Bytes and number of its files. Nothing is kept of them: what this process has grown to counts for its children."""
    size = count = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            size += os.path.getsize(os.path.join(parent, name))
            count += 1
    return size, count
