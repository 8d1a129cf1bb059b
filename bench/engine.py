"""The archive's engine against other tools, on the same files and the same processors: `make bench`."""

import os
import pathlib
import shutil
import subprocess
import sys

from measure import Way, side_by_side, tree_size

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".cache" / "bench"
ROUNDS = int(os.environ.get("ROUNDS", "5"))
SCALE = float(os.environ.get("SCALE", "1"))
PACK = sys.argv[1]
PYTHON_TAR = "import sys, tarfile; tarfile.open(sys.argv[1], 'w:gz').add(sys.argv[2], '.')"


def corpus(scale):
    folder = FOLDER / f"corpus-{scale:g}"
    if not folder.exists():
        draft = FOLDER / "corpus.partial"
        shutil.rmtree(draft, ignore_errors=True)
        print(f"making {folder}", file=sys.stderr)
        command = [sys.executable, ROOT / "bench/corpus.py", draft, "--scale", str(scale)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        draft.rename(folder)
    return folder


def small_files(count):
    folder = FOLDER / f"small-{count}"
    if not folder.exists():
        source = os.urandom(1 << 20)
        for number in range(count):
            table = folder / f"ks/t-{number // 1000:032x}"
            if number % 1000 == 0:
                table.mkdir(parents=True)
            length = 8 + number * 37 % 4000
            (table / f"nb-{number}-big-Data.db").write_bytes(source[number * 7 % 900000:][:length])
    return folder


def archive(name):
    return FOLDER / f"{name.replace(' ', '_').replace(',', '')}.tgz"


def ours(verb, *operands, threads=2, compression="fast"):
    return f"THREADS={threads} COMPRESSION={compression} {PACK} {verb} " + " ".join(map(str, operands))


def pack(folder, name, command):
    out = archive(name)
    return Way(name, command.format(folder=folder, out=out), [out])


def unpack(name, command):
    target = FOLDER / "unpacked"
    return Way(name, f"mkdir {target} && {command.format(target=target)}", [target])


def packing(folder, cold=False):
    size, _ = tree_size(folder)
    ways = [
        pack(folder, "ours, fast", ours("pack", "{folder}", "{out}")),
        pack(folder, "tar, pigz -1 -p2", "tar cf - -C {folder} . | pigz -1 -p2 > {out}"),
        pack(folder, "tar, igzip -1 -T2", "tar cf - -C {folder} . | igzip -1 -T 2 -c > {out}"),
    ]
    outputs = {way.name: archive(way.name) for way in ways}
    side_by_side(f"Pack {size / 1e6:.0f} MB", ways, ROUNDS, size, cold, outputs)


def slow_packing(folder):
    size, _ = tree_size(folder)
    ways = [
        pack(folder, "ours, fast, again", ours("pack", "{folder}", "{out}")),
        pack(folder, "tar czf", "tar czf {out} -C {folder} ."),
        pack(folder, "Python tarfile", f'{sys.executable} -c "{PYTHON_TAR}" {{out}} {{folder}}'),
    ]
    outputs = {way.name: archive(way.name) for way in ways}
    side_by_side(f"Pack {size / 1e6:.0f} MB, slow tools (`tar czf` is gzip -6)", ways, ROUNDS, size, False, outputs)


def best(folder):
    size, _ = tree_size(folder)
    ways = [
        pack(folder, "ours, best", ours("pack", "{folder}", "{out}", compression="best")),
        pack(folder, "tar, pigz -9 -p2", "tar cf - -C {folder} . | pigz -9 -p2 > {out}"),
    ]
    side_by_side(f"Pack {size / 1e6:.0f} MB, best", ways, ROUNDS, size, False, {way.name: archive(way.name) for way in ways})


def verifying(folder):
    size, _ = tree_size(folder)
    own, theirs = archive("ours, fast"), archive("tar, igzip -1 -T2")
    ways = [
        Way("ours, every digest", ours("verify", own)),
        Way("sha256sum; gzip -t", f"sha256sum {own} && gzip -t {own}"),
        Way("sha256sum; gzip -t of igzip's", f"sha256sum {theirs} && gzip -t {theirs}"),
    ]
    side_by_side(f"Verify {size / 1e6:.0f} MB", ways, ROUNDS, size)


def unpacking(folder, cold=False):
    size, _ = tree_size(folder)
    own, theirs = archive("ours, fast"), archive("tar, igzip -1 -T2")
    ways = [
        unpack("ours: verify, unpack, sync", ours("unpack", own, "{target}")),
        unpack("tar xzf; sync", f"tar xzf {theirs} -C {{target}} && sync"),
        unpack("igzip -dc, tar x; sync", f"igzip -dc {theirs} | tar x -C {{target}} && sync"),
    ]
    side_by_side(f"Unpack {size / 1e6:.0f} MB", ways, ROUNDS, size, cold)


def scaling(folder):
    size, _ = tree_size(folder)
    for verb in ["pack", "unpack"]:
        ways = []
        for threads in [2, 1]:
            if verb == "pack":
                ways.append(pack(folder, f"{threads} threads", ours("pack", "{folder}", "{out}", threads=threads)))
            else:
                ways.append(unpack(f"{threads} threads", ours("unpack", archive("ours, fast"), "{target}", threads=threads)))
        side_by_side(f"Threads, {verb} {size / 1e6:.0f} MB", ways, ROUNDS, size)


def many_small():
    folder = small_files(100_000)
    size, count = tree_size(folder)
    ways = [
        pack(folder, "ours, fast, small files", ours("pack", "{folder}", "{out}")),
        pack(folder, "tar cf", "tar cf {out} -C {folder} ."),
    ]
    side_by_side(f"Pack {count} small files ({size / 1e6:.0f} MB)", ways, ROUNDS, size)
    own = archive("ours, fast, small files")
    ways = [
        unpack("ours: verify, unpack, sync", ours("unpack", own, "{target}")),
        unpack("tar xzf; sync", f"tar xzf {own} -C {{target}} && sync"),
    ]
    side_by_side(f"Unpack {count} small files", ways, ROUNDS, size)


def memory(folder):
    """Ten times the same files are ten times the work."""
    large = FOLDER / f"{folder.name}-large"
    if not large.exists():
        large.mkdir()
        for number in range(10):
            subprocess.run(["cp", "-al", folder, large / f"part{number}"], check=True)
    out = archive("large")
    for source in [folder, large]:
        size, _ = tree_size(source)
        ways = [
            pack(source, "large", ours("pack", "{folder}", "{out}")),
            Way("verify", ours("verify", out)),
            unpack("unpack", ours("unpack", out, "{target}")),
        ]
        for way in ways:
            way.run()
            print(f"memory of {way.name}, {size / 1e9:.1f} GB: {way.peak / 1024:.0f} MiB", flush=True)
    out.unlink()
    shutil.rmtree(FOLDER / "unpacked")


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    parts = os.environ.get("PARTS", "pack slow best verify unpack scaling small memory cold").split()
    full, quarter = corpus(SCALE), corpus(SCALE / 4)
    todo = {
        "pack": lambda: packing(full), "slow": lambda: slow_packing(quarter), "best": lambda: best(quarter),
        "verify": lambda: verifying(full), "unpack": lambda: unpacking(full), "scaling": lambda: scaling(full),
        "small": many_small, "memory": lambda: memory(full),
        "cold": lambda: (packing(full, cold=True), unpacking(full, cold=True)),
    }
    for part in parts:
        todo[part]()


main()
