"""Everything that was stored goes out on Kafka: facts to `credits.events`, refused records to `usage.refused`.

The store is the outbox, so nothing is published that was rolled back and nothing that was stored is forgotten.
At least once, in order: consumers drop the positions that they have seen. That order holds through every crash because

- a round puts one batch at most into each partition and the next round is sent when all of them are acknowledged, so there is
  never a later fact in Kafka without the ones before it;
- the checkpoint moves when Kafka has acknowledged, and is fenced: of two relays that believe to own a shard, one moves on.

While Kafka writes one round the next is read and made ready, and while it writes that one the checkpoint of the first is committed.
"""

import asyncio
import json
import time
from asyncio import Future
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any

import stamina
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import BatchBuilder

from schemas.facts import Stored
from services.clock import Clock, system_clock
from services.crashpoints import crashpoint
from services.errors import Fenced, Unavailable
from services.health import Health
from services.settings import Settings
from services.store.claims import LEASE_SECONDS, Claims, new_owner
from services.store.connect import AWAY, Connection, connect_pool
from services.store.outgoing import refused_after, shards_behind
from services.store.read import read_after

EVENTS, REFUSED, USAGE = "credits.events", "usage.refused", "usage"
ROUND_FACTS = 4_000  # about 3 MB: read, sent and acknowledged in well under the lease
BATCH_BYTES = 1_000_000  # per partition and round, below the broker's usual limit of 1 MiB
IDLE_SECONDS = 0.01
REFUSED_SECONDS = 0.2
JOIN_SECONDS = LEASE_SECONDS / 4
GOODBYE_SECONDS = 5

log = structlog.get_logger()
