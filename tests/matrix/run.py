"""Runs the cases of the matrix on real nodes, a line for each, and tells what there is as a table.

Without a name all are run; `--cut` runs those that `make test` runs, `--list` names them. `--table` puts them into the
README, `--check` sees that they are there.
"""

import argparse
import sys
import time
import traceback

import cases
import versions  # noqa: F401  # registers its cases
import layouts  # noqa: F401
import surroundings  # noqa: F401
import rig

README = rig.ROOT / "README.md"
BEGIN, END = "<!-- made by tests/matrix/run.py --table -->\n", "<!-- end -->\n"


def table():
    lines = ["| Cassandra | layout | what is tested |", "|---|---|---|"]
    lines += [f"| {one.version} | {one.layout}{' *' if one.cut else ''} | {one.tests} |" for one in cases.CASES]
    return "\n".join(lines) + "\n"


def readme_with(new):
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{new}{END}{after}"


def run(one):
    """Whether it passed; its line is printed."""
    begun = time.monotonic()
    try:
        note = one.function()
        verdict = "ok"
    except Exception as error:
        traceback.print_exc()
        verdict, note = "FAILED", str(error).splitlines()[0] if str(error) else type(error).__name__
    told = f" ({note})" if note else ""
    seconds = time.monotonic() - begun
    print(f"{verdict:6} {seconds:4.0f} s  {one.name}: {one.version}, {one.layout}: {one.tests}{told}", flush=True)
    return verdict == "ok"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="of cases")
    for flag in ("--cut", "--list", "--table", "--check"):
        parser.add_argument(flag, action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        README.write_text(readme_with(table()))
        return 0
    if arguments.check:
        if README.read_text() == readme_with(table()):
            return 0
        print("README.md has another table than the cases make: run `make table`")
        return 1
    unknown = set(arguments.names) - {one.name for one in cases.CASES}
    if unknown:
        parser.error(f"there is no case {', '.join(sorted(unknown))}")
    wanted = [
        one for one in cases.CASES
        if (not arguments.names or one.name in arguments.names) and (not arguments.cut or one.cut)
    ]
    if arguments.list:
        print("\n".join(one.name for one in wanted))
        return 0
    failed = [one.name for one in wanted if not run(one)]
    print(f"{len(wanted) - len(failed)} of {len(wanted)} cases passed" + (f", not {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
