#!/bin/sh
# Makes the topics of the contract where they are missing. Usage: topics.sh BOOTSTRAP [PARTITIONS [COPIES]]
set -eu
bootstrap=$1 partitions=${2:-8} copies=${3:-1}

topic() {
    name=$1 parts=$2 days=$3
    /opt/kafka/bin/kafka-topics.sh --bootstrap-server "$bootstrap" --create --if-not-exists --topic "$name" \
        --partitions "$parts" --replication-factor "$copies" \
        --config "retention.ms=$((days * 24 * 60 * 60 * 1000))" --config max.message.bytes=16777216 --config message.timestamp.type="$4"
}

# LogAppendTime: when a cycle may be sealed goes by Kafka's clock, and not by that of whoever sends.
topic usage "$partitions" 30 LogAppendTime
topic credits.events "$partitions" 7 CreateTime
topic usage.refused 1 30 CreateTime
