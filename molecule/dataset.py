#!/usr/bin/env python3
"""Rows to back up, to lose and to find again: what was written is compared with what is there, row by row.

`write` makes keyspaces, tables and rows, and a file of what a reader must find; `lose` changes and drops some of them;
`check` reads everything and compares. What the node's version does not know is left out.
"""

import argparse
import collections
import datetime
import decimal
import hashlib
import json
import random
import socket
import sys
import time
import uuid

from cassandra import DriverException
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.concurrent import execute_concurrent_with_args
from cassandra.policies import WhiteListRoundRobinPolicy
from cassandra.query import dict_factory

Address = collections.namedtuple("Address", "street postcode")

REPLICATION = "WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"

QUOTED_INDEX_NAMES = (2, 2)
PAGED_STATICS = (2, 2)  # up to 2.1.3, static columns are null on all pages but the first (CASSANDRA-8502)
VIEWS = (3, 0)
RANGE_DELETES = (3, 0)
SCHEMA_KEYSPACE = (3, 0)
STORAGE_ATTACHED_INDEXES = (5, 0)

SCHEMA = [
    f"CREATE KEYSPACE shop {REPLICATION}",
    f"CREATE KEYSPACE telemetry {REPLICATION}",
    f"CREATE KEYSPACE names {REPLICATION}",
    f'CREATE KEYSPACE "MixedCase" {REPLICATION}',
    f"CREATE KEYSPACE without_tables {REPLICATION}",
    # A user type, collections, a legacy index with sstables of its own, a view.
    "CREATE TYPE shop.address (street text, postcode int)",
    """CREATE TABLE shop.customers (id int PRIMARY KEY, name text, city text, home frozen<address>,
           phones set<text>, notes list<text>, likes map<text, int>, joined timestamp)""",
    "CREATE INDEX customers_city ON shop.customers (city)",
    """CREATE MATERIALIZED VIEW shop.customers_by_city AS SELECT * FROM shop.customers
           WHERE city IS NOT NULL AND id IS NOT NULL PRIMARY KEY (city, id)""",
    """CREATE TABLE shop.orders (customer int, day int, currency text static, total decimal,
           PRIMARY KEY (customer, day))""",
    "CREATE TABLE shop.visits (page text PRIMARY KEY, seen counter)",
    "CREATE TABLE shop.wishes (id int PRIMARY KEY, wish text)",
    "CREATE TABLE shop.sessions (id uuid PRIMARY KEY, login text)",
    # A wide partition, an index inside the table's directory, values that compress and values that do not.
    "CREATE TABLE telemetry.readings (sensor int, at int, value double, PRIMARY KEY (sensor, at))",
    "CREATE TABLE telemetry.devices (id int PRIMARY KEY, model text, rating int, retired text)",
    "CREATE INDEX devices_rating ON telemetry.devices (rating)",
    # An index without rows.
    "CREATE TABLE telemetry.alarms (id int PRIMARY KEY, level text)",
    "CREATE INDEX alarms_level ON telemetry.alarms (level)",
    "CREATE TABLE telemetry.firmware (id int PRIMARY KEY, version text)",
    "CREATE TABLE telemetry.noise (id int PRIMARY KEY, value blob)",
    "CREATE TABLE telemetry.logs (id int PRIMARY KEY, value blob) WITH compression = {'enabled': false}",
    # Names that look like Cassandra's own directories.
    "CREATE TABLE names.peers_x (id int PRIMARY KEY, value text)",
    "CREATE TABLE names.snapshots (id int PRIMARY KEY, value text)",
    "CREATE TABLE names.backups (id int PRIMARY KEY, value text)",
    # Names of tables and indexes are ASCII in every version, those of columns need not be.
    'CREATE TABLE "MixedCase"."Table" ("Id" int PRIMARY KEY, "camelColumn" text, "имя" text)',
    'CREATE INDEX "Table_Name" ON "MixedCase"."Table" ("имя")',
]

LOSSES = [
    "DROP MATERIALIZED VIEW shop.customers_by_city",
    "DROP TABLE shop.orders",
    "TRUNCATE telemetry.readings",
    "UPDATE shop.customers SET city = 'Nowhere', phones = phones + {'000'} WHERE id = 1",
    "DELETE FROM shop.customers WHERE id IN (2, 3, 4)",
    "INSERT INTO shop.customers (id, name) VALUES (100000, 'came later')",
    "UPDATE shop.visits SET seen = seen + 1000 WHERE page = '/page/1'",
    "INSERT INTO shop.wishes (id, wish) VALUES (1, 'came later')",
    "DROP INDEX telemetry.devices_rating",
    "ALTER TABLE telemetry.devices DROP model",
    "ALTER TABLE telemetry.devices ADD colour text",
    "DELETE FROM telemetry.noise WHERE id IN (0, 1, 2)",
    "DROP KEYSPACE names",
    "DROP KEYSPACE without_tables",
    "CREATE TABLE shop.made_later (id int PRIMARY KEY)",
    "INSERT INTO shop.made_later (id) VALUES (1)",
    f"CREATE KEYSPACE made_later {REPLICATION}",
]

SCHEMA_TABLES_QUERIES = [
    "SELECT keyspace_name, durable_writes, strategy_class, strategy_options FROM system.schema_keyspaces",
    "SELECT keyspace_name, columnfamily_name, cf_id, dropped_columns FROM system.schema_columnfamilies",
    "SELECT keyspace_name, columnfamily_name, column_name, type, validator, index_name FROM system.schema_columns",
    "SELECT keyspace_name, type_name, field_names FROM system.schema_usertypes",
]

SCHEMA_QUERIES = [
    "SELECT keyspace_name, durable_writes, replication FROM system_schema.keyspaces",
    "SELECT keyspace_name, table_name, id FROM system_schema.tables",
    "SELECT keyspace_name, table_name, column_name, kind, type FROM system_schema.columns",
    "SELECT keyspace_name, table_name, column_name, type FROM system_schema.dropped_columns",
    "SELECT keyspace_name, table_name, index_name, options FROM system_schema.indexes",
    "SELECT keyspace_name, view_name, id FROM system_schema.views",
    "SELECT keyspace_name, type_name, field_names FROM system_schema.types",
]

CITIES = ["Bergen", "Cádiz", "大阪", "Recife"]
VALUE_BYTES = 32 * 1024
IN_FLIGHT = 8
SEND_BUFFER = (socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * IN_FLIGHT * VALUE_BYTES)
TEN_YEARS = 10 * 365 * 24 * 3600
WRITTEN_AT = 1_700_000_000_000_000


def version_of(session):
    """Its first two numbers."""
    release = session.execute("SELECT release_version FROM system.local").one()["release_version"]
    return tuple(int(number) for number in release.split(".")[:2])


def schema(version):
    """The statements as this version has them."""
    for statement in SCHEMA:
        if version < VIEWS and "MATERIALIZED VIEW" in statement:
            continue
        if version >= STORAGE_ATTACHED_INDEXES and statement.startswith("CREATE INDEX"):
            kind = "sai" if "devices_rating" in statement else "legacy_local_table"
            statement += f" USING '{kind}'"
        if version < QUOTED_INDEX_NAMES:
            statement = statement.replace('INDEX "Table_Name"', "INDEX table_name")
        if version < SCHEMA_KEYSPACE:
            statement = statement.replace("{'enabled': false}", "{'sstable_compression': ''}")
        yield statement


def losses(version):
    return [statement for statement in LOSSES if version >= VIEWS or "MATERIALIZED VIEW" not in statement]


def schema_queries(version):
    return SCHEMA_QUERIES if version >= SCHEMA_KEYSPACE else SCHEMA_TABLES_QUERIES


def customers():
    for i in range(300):
        yield {
            "id": i,
            "name": f"Customer {i}",
            "city": CITIES[i % 4] if i % 10 else None,
            "home": Address(f"Street {i}", 1000 + i),
            "phones": {f"+{i}", f"+{i + 1}"},
            "notes": [f"note {n}" for n in range(1 + i % 3)],
            "likes": {f"thing {n}": n for n in range(1 + i % 4)},
            "joined": datetime.datetime(2024, 1, 1) + datetime.timedelta(hours=i),
        }


def orders():
    for customer in range(40):
        # Every tenth customer has no order: a partition of nothing but its static column.
        for day in range(25) if customer % 10 else [None]:
            total = None if day is None else decimal.Decimal(f"{customer}.{day:02}")
            yield {"customer": customer, "day": day, "currency": f"C{customer % 3}", "total": total}


def values(megabytes, randomness):
    for i in range(megabytes * 1024 * 1024 // VALUE_BYTES):
        if randomness:
            yield {"id": i, "value": random.Random(i).randbytes(VALUE_BYTES)}
        else:
            line = f"device {i} reports that everything is as it was before\n".encode()
            yield {"id": i, "value": (line * (VALUE_BYTES // len(line) + 1))[:VALUE_BYTES]}


def write(session, expect_file, megabytes):
    """Makes keyspaces, tables and rows, and writes down every row that a reader must find."""
    begun = time.monotonic()
    version = version_of(session)
    for statement in schema(version):
        session.execute(statement)

    expected = {}

    def table(name, rows):
        insert(session, name, rows)
        expected[f"SELECT * FROM {name}"] = [plain(row) for row in rows]

    people = list(customers())
    table("shop.customers", people)
    in_a_city = [plain(row) for row in people if row["city"]]
    if version >= VIEWS:
        expected["SELECT * FROM shop.customers_by_city"] = in_a_city
    for city in CITIES:
        expected[f"SELECT * FROM shop.customers WHERE city = '{city}'"] = [r for r in in_a_city if r["city"] == city]

    table("shop.orders", list(orders()))
    table("shop.wishes", [])
    expected["SELECT * FROM shop.visits"] = count_visits(session)
    expected["SELECT id, login, WRITETIME(login) AS written_at FROM shop.sessions"] = open_sessions(session)

    readings = [{"sensor": sensor, "at": at, "value": at / 7} for sensor in (1, 2) for at in range(8000 // sensor)]
    insert(session, "telemetry.readings", readings)
    if version >= RANGE_DELETES:
        session.execute("DELETE FROM telemetry.readings WHERE sensor = 1 AND at >= 1000 AND at < 2000")
    else:
        rows = [(at,) for at in range(1000, 2000)]
        concurrently(session, "DELETE FROM telemetry.readings WHERE sensor = 1 AND at = ?", rows)
    kept = [row for row in readings if row["sensor"] != 1 or not 1000 <= row["at"] < 2000]
    expected["SELECT * FROM telemetry.readings"] = kept

    devices = [{"id": i, "model": f"M{i % 5}", "rating": i % 100} for i in range(400)]
    insert(session, "telemetry.devices", [{**device, "retired": "no"} for device in devices])
    session.execute("ALTER TABLE telemetry.devices DROP retired")
    expected["SELECT * FROM telemetry.devices"] = devices
    expected["SELECT * FROM telemetry.devices WHERE rating = 80"] = [d for d in devices if d["rating"] == 80]
    if version >= STORAGE_ATTACHED_INDEXES:
        expected["SELECT * FROM telemetry.devices WHERE rating >= 80"] = [d for d in devices if d["rating"] >= 80]
    expected["SELECT * FROM telemetry.alarms WHERE level = 'red'"] = []

    insert(session, "telemetry.firmware", [{"id": i, "version": "of the dropped table"} for i in range(50)])
    session.execute("DROP TABLE telemetry.firmware")
    session.execute("CREATE TABLE telemetry.firmware (id int PRIMARY KEY, version text)")
    table("telemetry.firmware", [{"id": i, "version": f"5.{i}"} for i in range(20, 60)])

    table("telemetry.noise", list(values(megabytes - megabytes // 2, randomness=True)))
    table("telemetry.logs", list(values(megabytes // 2, randomness=False)))
    for name in ("peers_x", "snapshots", "backups"):
        table(f"names.{name}", [{"id": i, "value": f"{name} {i}"} for i in range(25)])
    mixed = [{"Id": i, "camelColumn": f"Value {i}", "имя": f"Имя {i % 5}"} for i in range(25)]
    table('"MixedCase"."Table"', mixed)
    expected["""SELECT * FROM "MixedCase"."Table" WHERE "имя" = 'Имя 3'"""] = [r for r in mixed if r["Id"] % 5 == 3]

    rows = sum(len(rows) for query, rows in expected.items() if "WHERE" not in query)
    # The only answers taken from the node itself: table ids and the like are its own choice.
    expected |= {query: read(session, query) for query in schema_queries(version)}
    with open(expect_file, "w", encoding="utf-8") as file:
        json.dump(expected, file, ensure_ascii=False, indent=0)
    tables = len(expected[schema_queries(version)[1]])
    seconds = time.monotonic() - begun
    print(f"wrote {rows} rows into {tables} tables, {megabytes} MB of values among them, in {seconds:.1f} s")


def insert(session, table, rows):
    by_columns = collections.defaultdict(list)
    for row in rows:
        present = {column: value for column, value in row.items() if value is not None}
        by_columns[tuple(present)].append(tuple(present.values()))
    for columns, parameters in by_columns.items():
        names = ", ".join(f'"{column}"' for column in columns)
        marks = ", ".join("?" * len(columns))
        concurrently(session, f"INSERT INTO {table} ({names}) VALUES ({marks})", parameters)


def count_visits(session):
    counted = [{"page": f"/page/{i}", "seen": 3 * (i + 1)} for i in range(60)]
    increments = [(row["seen"] // 3, row["page"]) for row in counted] * 3
    concurrently(session, "UPDATE shop.visits SET seen = seen + ? WHERE page = ?", increments)
    return counted


def open_sessions(session):
    """Rows that expire in ten years, with write times: restored cells have theirs, rewritten ones have not."""
    rows = [{"id": uuid.UUID(int=i), "login": f"user {i}", "written_at": WRITTEN_AT + i} for i in range(100)]
    statement = f"INSERT INTO shop.sessions (id, login) VALUES (?, ?) USING TTL {TEN_YEARS} AND TIMESTAMP ?"
    concurrently(session, statement, [tuple(row.values()) for row in rows])
    return [plain(row) for row in rows]


def concurrently(session, statement, parameters):
    # What is under way must fit into the socket's buffer: where it is full, the driver gives up ("overloaded").
    execute_concurrent_with_args(session, session.prepare(statement), parameters, concurrency=IN_FLIGHT)


def lose(session):
    """What a bad day does: rows changed and deleted, tables dropped, others made."""
    statements = losses(version_of(session))
    for statement in statements:
        session.execute(statement)
    print("\n".join(statement.split(" WITH")[0] for statement in statements))


def check(session, expect_file):
    """Reads everything completely; 1 unless each row, and nothing else, is there."""
    begun = time.monotonic()
    with open(expect_file, encoding="utf-8") as file:
        expected = json.load(file)
    rows = 0
    differences = []
    for query, wanted in expected.items():
        try:
            found = read(session, query)
        except DriverException as error:  # a dropped table is a finding like any other
            differences.append(f"{query}: {error}")
            continue
        rows += len(found)
        missing, unknown = difference(wanted, found), difference(found, wanted)
        if missing or unknown:
            differences.append(f"{query}: {len(missing)} rows missing, {len(unknown)} rows too many")
            differences += [f"    missing  {row:.160}" for row in missing[:3]]
            differences += [f"    too many {row:.160}" for row in unknown[:3]]
    for line in differences:
        print(line)
    verdict = "exactly what was written, and nothing else" if not differences else "NOT what was written"
    print(f"{verdict}: {rows} rows of {len(expected)} queries compared in {time.monotonic() - begun:.1f} s")
    return 1 if differences else 0


def read(session, query):
    rows = [plain(row) for row in session.execute(query)]
    return [row for row in rows if not str(row.get("keyspace_name", "")).startswith("system")]


def difference(some, others):
    """The rows of `some` that are not among `others`, each as often as it is too often."""
    surplus = collections.Counter(map(canonical, some)) - collections.Counter(map(canonical, others))
    return sorted(surplus.elements())


def canonical(row):
    return json.dumps(row, ensure_ascii=False, sort_keys=True)


def plain(value):
    """A value as JSON knows it; of a long blob, its SHA-256."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            return value.hex() if len(value) <= 64 else f"sha256:{hashlib.sha256(value).hexdigest()}"
        case datetime.datetime():
            return value.isoformat()
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if hasattr(value, "items"):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "__iter__"):
        return sorted(plain(item) for item in value)
    return str(value)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["write", "lose", "check"])
    parser.add_argument("host", help="the node's address; CQL is expected on port 9042")
    parser.add_argument("--expect", metavar="FILE", help="where the rows to find are written down (JSON)")
    parser.add_argument("--megabytes", type=int, default=4, help="about how much to write (default: %(default)s)")
    parser.add_argument("--protocol-version", type=int, help="of CQL, where the driver does not find out: 3 for 2.1")
    arguments = parser.parse_args()
    if arguments.verb != "lose" and not arguments.expect:
        parser.error("--expect is needed")

    profile = ExecutionProfile(
        load_balancing_policy=WhiteListRoundRobinPolicy([arguments.host]), row_factory=dict_factory, request_timeout=60
    )
    with Cluster(
        [arguments.host],
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        sockopts=[SEND_BUFFER],
        connect_timeout=30,
        **({"protocol_version": arguments.protocol_version} if arguments.protocol_version else {}),
        control_connection_timeout=30,
    ) as cluster:
        session = cluster.connect()
        session.default_fetch_size = 500 if version_of(session) >= PAGED_STATICS else None
        match arguments.verb:
            case "write":
                return write(session, arguments.expect, arguments.megabytes)
            case "lose":
                return lose(session)
            case "check":
                return check(session, arguments.expect)


if __name__ == "__main__":
    sys.exit(main())
