#!/usr/bin/env python3
"""Rows on several replicas: what each of them holds is compared with what was written, row by row.

`write` makes the rows that are backed up, in place of all that is there; `lose` changes, drops and truncates them and
makes others, with all nodes up; `hint` goes on with that where a node is down, which hints then wait for. `check` reads
everything from each node by itself, and once more at consistency ALL.
"""

import argparse
import contextlib
import json
import pathlib
import sys
import time
import uuid

from cassandra import ConsistencyLevel, DriverException
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.policies import WhiteListRoundRobinPolicy
from cassandra.query import dict_factory

sys.path.append(str(pathlib.Path(__file__).parents[1]))
from dataset import (  # noqa: E402
    CITIES,
    SCHEMA_QUERIES,
    SEND_BUFFER,
    TEN_YEARS,
    WRITTEN_AT,
    concurrently,
    difference,
    insert,
    plain,
    read,
    values,
)

THREE = "WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 3}"
ONE = "WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"
# A node that is asked answers of its own rows, and a reader mends none.
AS_IT_IS = "WITH speculative_retry = 'NEVER' AND read_repair = 'NONE'"

SCHEMA = [
    f"CREATE KEYSPACE everywhere {THREE}",
    f"CREATE KEYSPACE once {ONE}",
    f"CREATE KEYSPACE dropped {THREE}",
    f"CREATE TABLE everywhere.customers (id int PRIMARY KEY, name text, city text) {AS_IT_IS}",
    "CREATE INDEX customers_city ON everywhere.customers (city) USING 'legacy_local_table'",
    f"CREATE TABLE everywhere.devices (id int PRIMARY KEY, model text, rating int) {AS_IT_IS}",
    "CREATE INDEX devices_rating ON everywhere.devices (rating) USING 'sai'",
    f"CREATE TABLE everywhere.readings (sensor int, at int, value double, PRIMARY KEY (sensor, at)) {AS_IT_IS}",
    f"CREATE TABLE everywhere.visits (page text PRIMARY KEY, seen counter) {AS_IT_IS}",
    f"CREATE TABLE everywhere.sessions (id uuid PRIMARY KEY, login text) {AS_IT_IS}",
    f"CREATE TABLE everywhere.noise (id int PRIMARY KEY, value blob) {AS_IT_IS}",
    f"CREATE TABLE everywhere.truncated (id int PRIMARY KEY, value text) {AS_IT_IS}",
    f"CREATE TABLE everywhere.dropped (id int PRIMARY KEY, value text) {AS_IT_IS}",
    f"CREATE TABLE everywhere.made_again (id int PRIMARY KEY, value text) {AS_IT_IS}",
    "CREATE TABLE once.items (id int PRIMARY KEY, value text)",
    "CREATE TABLE once.counted (id int PRIMARY KEY, seen counter)",
    "CREATE TABLE once.truncated (id int PRIMARY KEY, value text)",
    f"CREATE TABLE dropped.rows (id int PRIMARY KEY, value text) {AS_IT_IS}",
]

LOSSES = [
    "TRUNCATE everywhere.truncated",
    "TRUNCATE once.truncated",
    "DROP TABLE everywhere.dropped",
    "DROP KEYSPACE dropped",
    "DROP TABLE everywhere.made_again",
    f"CREATE TABLE everywhere.made_again (id int PRIMARY KEY, value text) {AS_IT_IS}",
    f"CREATE TABLE everywhere.made_later (id int PRIMARY KEY, value text) {AS_IT_IS}",
    f"CREATE KEYSPACE made_later {THREE}",
    f"CREATE TABLE made_later.rows (id int PRIMARY KEY, value text) {AS_IT_IS}",
]

MEGABYTES = 16


def customers(ids, name="Customer"):
    return [{"id": i, "name": f"{name} {i}", "city": CITIES[i % 4]} for i in ids]


def readings(sensor, times):
    return [{"sensor": sensor, "at": at, "value": at / 7} for at in times]


def devices(ids, model="M"):
    return [{"id": i, "model": f"{model}{i % 5}", "rating": i % 100} for i in ids]


def sessions(ids, login="user"):
    return [{"id": uuid.UUID(int=i), "login": f"{login} {i}", "written_at": WRITTEN_AT + i} for i in ids]


def valued(ids, value):
    return [{"id": i, "value": f"{value} {i}"} for i in ids]


def rows_before():
    """Every row of every table that `write` makes."""
    return {
        "everywhere.customers": customers(range(2000)),
        "everywhere.devices": devices(range(600)),
        "everywhere.readings": readings(1, [*range(1000), *range(2000, 4000)]) + readings(2, range(2000)),
        "everywhere.visits": [{"page": f"/page/{i}", "seen": 3 * (i + 1)} for i in range(200)],
        "everywhere.sessions": sessions(range(200)),
        "everywhere.noise": list(values(MEGABYTES, randomness=True)),
        "everywhere.truncated": valued(range(300), "truncated"),
        "everywhere.dropped": valued(range(300), "dropped"),
        "everywhere.made_again": valued(range(300), "before it was dropped"),
        "once.items": valued(range(1000), "item"),
        "once.counted": [{"id": i, "seen": 3 * (i + 1)} for i in range(100)],
        "once.truncated": valued(range(300), "truncated"),
        "dropped.rows": valued(range(300), "dropped"),
    }


def rows_after():
    """Every row of every table once `lose` and `hint` are through."""
    before = rows_before()
    return {
        "everywhere.customers": customers(range(100), "Renamed") + customers([*range(200, 2000), *range(5000, 5300)]),
        "everywhere.devices": devices([*range(50, 600), *range(700, 750)]),
        "everywhere.readings": readings(1, range(1000)) + readings(2, range(2000)) + readings(3, range(1000)),
        "everywhere.visits": [{**row, "seen": row["seen"] + 7} for row in before["everywhere.visits"]],
        "everywhere.sessions": sessions(range(50, 200)) + sessions(range(300, 350), "later"),
        "everywhere.noise": before["everywhere.noise"][100:],
        "everywhere.truncated": [],
        "everywhere.made_again": valued(range(100, 500), "after it was made again"),
        "everywhere.made_later": valued(range(300), "made later"),
        "once.items": valued(range(100), "changed") + valued(range(200, 1200), "item"),
        "once.counted": [{**row, "seen": row["seen"] + 5} for row in before["once.counted"]],
        "once.truncated": valued(range(10), "after it was truncated"),
        "made_later.rows": valued(range(300), "made later"),
    }


def expected(rows, session):
    """What a reader must find. The schema alone is taken from a node: the ids of tables are its own choice."""
    found = {f"SELECT * FROM {table}": [plain(row) for row in rows] for table, rows in rows.items()}
    found["SELECT id, login, WRITETIME(login) AS written_at FROM everywhere.sessions"] = found.pop(
        "SELECT * FROM everywhere.sessions"
    )
    people, things = found["SELECT * FROM everywhere.customers"], found["SELECT * FROM everywhere.devices"]
    for city in CITIES:
        in_it = [row for row in people if row["city"] == city]
        found[f"SELECT * FROM everywhere.customers WHERE city = '{city}'"] = in_it
    found["SELECT * FROM everywhere.devices WHERE rating >= 80"] = [row for row in things if row["rating"] >= 80]
    return found | {query: read(session, query) for query in SCHEMA_QUERIES}


def write(session, file):
    for keyspace in read(session, "SELECT keyspace_name FROM system_schema.keyspaces"):
        session.execute(f'DROP KEYSPACE "{keyspace["keyspace_name"]}"')
    for statement in SCHEMA:
        session.execute(statement)
    rows = rows_before()
    for table in rows.keys() - {"everywhere.visits", "everywhere.sessions", "once.counted"}:
        insert(session, table, rows[table])
    open_sessions(session, rows["everywhere.sessions"])
    for _ in range(3):
        count(session, "everywhere.visits", "page", [(row["seen"] // 3, row["page"]) for row in rows["everywhere.visits"]])
        count(session, "once.counted", "id", [(row["seen"] // 3, row["id"]) for row in rows["once.counted"]])
    # Written and deleted again: what a restore brings back, its deletion goes on hiding.
    insert(session, "everywhere.readings", readings(1, range(1000, 2000)))
    session.execute("DELETE FROM everywhere.readings WHERE sensor = 1 AND at >= 1000 AND at < 2000")
    insert(session, "once.items", valued(range(1000, 1100), "deleted"))
    delete(session, "once.items", range(1000, 1100))
    save(expected(rows, session), file)


def lose(session, file):
    for statement in LOSSES:
        session.execute(statement)
    rows = rows_after()
    insert(session, "everywhere.made_again", rows["everywhere.made_again"])
    insert(session, "once.items", valued(range(100), "changed") + valued(range(1000, 1200), "item"))
    delete(session, "once.items", range(100, 200))
    insert(session, "once.truncated", rows["once.truncated"])
    count(session, "once.counted", "id", [(5, row["id"]) for row in rows["once.counted"]])
    save(expected(rows, session), file)


def hint(session):
    rows = rows_after()
    insert(session, "everywhere.customers", customers(range(100), "Renamed") + customers(range(5000, 5300)))
    delete(session, "everywhere.customers", range(100, 200))
    insert(session, "everywhere.devices", devices(range(700, 750)))
    delete(session, "everywhere.devices", range(50))
    insert(session, "everywhere.readings", readings(3, range(1000)))
    session.execute("DELETE FROM everywhere.readings WHERE sensor = 1 AND at >= 2000")
    count(session, "everywhere.visits", "page", [(7, row["page"]) for row in rows["everywhere.visits"]])
    open_sessions(session, sessions(range(300, 350), "later"))
    delete(session, "everywhere.sessions", [uuid.UUID(int=i) for i in range(50)])
    delete(session, "everywhere.noise", range(100))
    for table in ("everywhere.made_later", "made_later.rows"):
        insert(session, table, rows[table])


def delete(session, table, ids):
    concurrently(session, f"DELETE FROM {table} WHERE id = ?", [(i,) for i in ids])


def count(session, table, key, increments):
    concurrently(session, f"UPDATE {table} SET seen = seen + ? WHERE {key} = ?", increments)


def open_sessions(session, rows):
    """Rows that expire in ten years, with write times: restored cells have theirs, rewritten ones have not."""
    statement = f"INSERT INTO everywhere.sessions (id, login) VALUES (?, ?) USING TTL {TEN_YEARS} AND TIMESTAMP ?"
    concurrently(session, statement, [tuple(row.values()) for row in rows])


def save(expectation, file):
    with open(file, "w", encoding="utf-8") as stream:
        json.dump(expectation, stream, ensure_ascii=False, indent=0)


def check(nodes, file):
    """Reads everything completely, of each node and of all; 1 unless each row, and nothing else, is there."""
    begun = time.monotonic()
    with open(file, encoding="utf-8") as stream:
        expectation = json.load(stream)
    readers = [(node, [node], ConsistencyLevel.ONE) for node in nodes] + [("all", nodes, ConsistencyLevel.ALL)]
    differences = []
    rows = 0
    for name, asked, consistency in readers:
        try:
            with connected(asked, consistency) as session:
                for query, wanted in expectation.items():
                    found, told = compared(session, query, wanted)
                    rows += found
                    differences += [f"{name}: {line}" for line in told]
        except NoHostAvailable as error:
            differences.append(f"{name}: {error}")
    for line in differences:
        print(line)
    verdict = "exactly what was written, and nothing else" if not differences else "NOT what was written"
    seconds = time.monotonic() - begun
    print(f"{verdict}: {rows} rows of {len(readers)} times {len(expectation)} queries compared in {seconds:.1f} s")
    return 1 if differences else 0


def compared(session, query, wanted):
    """How many rows there are, and what is wrong with them."""
    try:
        found = read(session, query)
    except DriverException as error:  # a dropped table is a finding like any other
        return 0, [f"{query}: {error}"]
    missing, unknown = difference(wanted, found), difference(found, wanted)
    if not missing and not unknown:
        return len(found), []
    told = [f"{query}: {len(missing)} rows missing, {len(unknown)} rows too many"]
    told += [f"    missing  {row:.160}" for row in missing[:3]]
    told += [f"    too many {row:.160}" for row in unknown[:3]]
    return len(found), told


@contextlib.contextmanager
def connected(nodes, consistency):
    """Speaks to these nodes and to no other."""
    profile = ExecutionProfile(
        load_balancing_policy=WhiteListRoundRobinPolicy(nodes),
        consistency_level=consistency,
        row_factory=dict_factory,
        request_timeout=60,
    )
    with Cluster(
        nodes,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        sockopts=[SEND_BUFFER],
        connect_timeout=30,
        control_connection_timeout=30,
        max_schema_agreement_wait=60,
    ) as cluster:
        session = cluster.connect()
        session.default_fetch_size = 500
        yield session


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["write", "lose", "hint", "check"])
    parser.add_argument("nodes", nargs="+", help="addresses of the nodes that are up; CQL is expected on port 9042")
    parser.add_argument("--expect", metavar="FILE", help="where the rows to find are written down (JSON)")
    arguments = parser.parse_args()
    if arguments.verb != "hint" and not arguments.expect:
        parser.error("--expect is needed")

    if arguments.verb == "check":
        return check(arguments.nodes, arguments.expect)
    enough = ConsistencyLevel.QUORUM if arguments.verb == "hint" else ConsistencyLevel.ALL
    with connected(arguments.nodes, enough) as session:
        match arguments.verb:
            case "write":
                write(session, arguments.expect)
            case "lose":
                lose(session, arguments.expect)
            case "hint":
                hint(session)
    return 0


if __name__ == "__main__":
    sys.exit(main())
