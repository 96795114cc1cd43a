"""How an output topic is read in five tools, isolation level included; the common part of ``docs/topics.md``."""

from __future__ import annotations

from schemas.catalogue import CATALOGUE
from schemas.topics import TOPICS, Kind

READER = """\
import io, json, os, sys

import fastavro
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient

FILES = {@FILES@}
folder, topic = os.environ.get("SCHEMAS", "schemas/avro"), sys.argv[1]
url = os.environ.get("SCHEMA_REGISTRY_URL")  # set it if, and only if, the workers have it
registry = SchemaRegistryClient({"url": url}) if url else None
known = {}


def schema_of(number):
    if number not in known:
        text = registry.get_schema(number).schema_str if registry else open(f"{folder}/{FILES[number]}.avsc").read()
        known[number] = fastavro.parse_schema(json.loads(text))
    return known[number]


options = {
    "bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"],
    "group.id": "reads-a-table",  # never committed to: it reads from the beginning each time
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "isolation.level": "read_committed",
}
consumer = Consumer(options)
partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
table, unread = {}, set(partitions)
while unread:
    message = consumer.poll(1.0)
    if message is None:
        continue
    if message.error():
        if message.error().code() != KafkaError._PARTITION_EOF:
            sys.exit(str(message.error()))
        unread.discard(message.partition())
        continue
    value = message.value()
    assert value[0] == 0, "not in the Confluent wire format"
    number = int.from_bytes(value[1:5], "big")
    table[message.key().decode()] = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema_of(number))
consumer.close()
for key, row in sorted(table.items()):
    print(key, json.dumps(row, default=lambda time: time.isoformat(), ensure_ascii=False), sep="\\t")
"""

_TEXT = """\
## What is on the wire

- **Key**: UTF-8 text, nothing before it. **Value**: a zero byte, the schema's id as four bytes big endian, then one Avro
  record (the Confluent wire format). Outputs are never written in the other framings of that format (an id in a header, a
  GUID); Tally only reads those.
- **Without a registry** (`SCHEMA_REGISTRY_URL` not set) the ids are those on this page, and the schemas the files in
  `schemas/avro`. Nothing has to be asked. Tools that insist on a registry (Confluent's deserializers, Flink's
  `avro-confluent`, `kcat -r`, Connect's AvroConverter) cannot read such a deployment: to a registry these ids mean nothing,
  or something else.
- **With a registry** the ids are the registry's, and those on this page do not hold. Subjects are named
  `<topic>-tally.<Record>`, prefix included (TopicRecordNameStrategy): a tool that looks for `<topic>-value` finds nothing and
  must be told, as below.
- Amounts are whole minor units (cents, yen, fils), times milliseconds since 1970 in UTC (`timestamp-millis`).
- Where a deployment has a prefix (`TALLY_PREFIX`), it stands before every topic's name; before that of an output that a changed
  rule wrote stands its version too (`prod.v2.order-status`). `tally topics current order-status` says which one to read.

## How to read a topic, in five tools

Always with **isolation.level=read_committed**: any other reader also sees what was rolled back, and counts money that never
moved.

| tool | isolation.level | if it is not set | without a registry | run in our tests |
|---|---|---|---|---|
| 1. tally tail | read_committed; `--uncommitted` for all | read_committed | reads all | yes |
| 2. kcat | `-X isolation.level=read_committed` | read_committed, as everywhere in librdkafka | keys only | no |
| 3. Python, confluent-kafka and fastavro | `"isolation.level": "read_committed"` | read_committed | reads all | yes, both ways |
| 4. Java, Spring | `isolation.level=read_committed` | **read_uncommitted** | with Avro's own reader, behind the fifth byte | no |
| 5. Flink SQL | `'properties.isolation.level' = 'read_committed'` | **read_uncommitted** | not at all | no |

Kafka's own `kafka-console-consumer` is a Java tool: `--isolation-level read_committed`, else it reads uncommitted. Each
reader but the first needs login and TLS as your cluster asks for them.

### 1. tally tail

Each topic below has its line. `--json` gives one object per record, with amounts in minor units; `--key` one key's history;
`--from -15m` what came since. It shows records, so a window appears once for each revision; of
compacted topics `--limit` takes the newest. Times are numbers under names with `_ms`, such as `window_start_ms`. It knows both
kinds of ids.

### 2. kcat

Keys and times, and with a registry the values as JSON (not run in our tests):

```
kcat -C -e -b "$KAFKA_BOOTSTRAP_SERVERS" -t revenue-by-merchant-1h -X isolation.level=read_committed -f '%k %T\\n'
kcat -C -e -b "$KAFKA_BOOTSTRAP_SERVERS" -t revenue-by-merchant-1h -X isolation.level=read_committed -J \\
     -s value=avro -r "$SCHEMA_REGISTRY_URL"
```

### 3. Python

Prints the table that a topic is: the last row of each key. `pip install "confluent-kafka[schemaregistry]" fastavro`, save it
as `read_table.py`, then `python read_table.py revenue-by-merchant-1h`. Of `revenue-adjustments` and `unmatched-payments`
every record counts: keep a list there instead.

```python
@READER@```

### 4. Java and Spring

With a registry, and Confluent's `kafka-avro-serializer` on the class path (not run in our tests):

```properties
isolation.level=read_committed
auto.offset.reset=earliest
key.deserializer=org.apache.kafka.common.serialization.StringDeserializer
value.deserializer=io.confluent.kafka.serializers.KafkaAvroDeserializer
schema.registry.url=https://registry.example:8081
value.subject.name.strategy=io.confluent.kafka.serializers.subject.TopicRecordNameStrategy
```

In Spring Boot each of them stands behind `spring.kafka.consumer.properties.`, such as
`spring.kafka.consumer.properties.isolation.level=read_committed`. Without a registry: `ByteArrayDeserializer`, the schema file
that the id names, and Avro's `GenericDatumReader` over the bytes from the sixth on.

### 5. Flink SQL

With a registry (not run in our tests). `upsert-kafka` makes the last row per key the table; for `revenue-adjustments` and
`unmatched-payments`, where each row counts, take `'connector' = 'kafka'` without the primary key.

```sql
CREATE TABLE revenue_1h (
  row_key STRING, merchant_id STRING, currency STRING, window_start TIMESTAMP(3), window_end TIMESTAMP(3), status STRING,
  revision BIGINT, orders_count BIGINT, gross_minor BIGINT, captured_minor BIGINT, refunded_minor BIGINT,
  cancelled_minor BIGINT, net_minor BIGINT, PRIMARY KEY (row_key) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka', 'topic' = 'revenue-by-merchant-1h',
  'properties.bootstrap.servers' = 'broker.example:9092',
  'properties.isolation.level' = 'read_committed',
  'key.format' = 'raw', 'value.format' = 'avro-confluent', 'value.fields-include' = 'EXCEPT_KEY',
  'value.avro-confluent.url' = 'https://registry.example:8081'
);
SELECT merchant_id, currency, SUM(net_minor) FROM revenue_1h WHERE status = 'final' GROUP BY merchant_id, currency;
```
"""


def reader() -> str:
    """Give the Python program that prints any output topic as a table."""
    outputs = {value.__name__ for topic in TOPICS if topic.kind is Kind.OUTPUT for value in topic.values}
    lines = [f'    {each.schema_id}: "{each.name}.v{each.version}",' for each in CATALOGUE if each.name in outputs]
    return READER.replace("@FILES@", "\n" + "\n".join(lines) + "\n")


def how_to_read() -> str:
    """Give the chapters about the wire format and the five tools."""
    return _TEXT.replace("@READER@", reader())
