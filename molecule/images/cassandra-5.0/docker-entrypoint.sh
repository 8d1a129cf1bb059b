#!/bin/bash
# As the official image's: owns the directories, drops root, writes what the environment says into the configuration.
set -euo pipefail

if [[ $# -eq 0 || $1 == -* ]]; then
    set -- cassandra -f "$@"
fi

if [[ $1 == cassandra && $(id -u) == 0 ]]; then
    find "$CASSANDRA_CONF" /var/lib/cassandra /var/log/cassandra ! -user cassandra -exec chown cassandra '{}' +
    exec gosu cassandra "$0" "$@"
fi

# Not `sed -i`: the file may be a mount, which cannot be renamed over.
configure() {
    local file=$CASSANDRA_CONF/$1 changed
    changed=$(sed -r "$2" "$file")
    printf '%s\n' "$changed" >"$file"
}

if [[ $1 == cassandra ]]; then
    own_address=$(hostname -I | cut -d' ' -f1)
    : "${CASSANDRA_RPC_ADDRESS:=0.0.0.0}"
    [[ ${CASSANDRA_LISTEN_ADDRESS:=auto} != auto ]] || CASSANDRA_LISTEN_ADDRESS=$own_address
    : "${CASSANDRA_BROADCAST_ADDRESS:=$CASSANDRA_LISTEN_ADDRESS}"
    [[ $CASSANDRA_BROADCAST_ADDRESS != auto ]] || CASSANDRA_BROADCAST_ADDRESS=$own_address
    : "${CASSANDRA_BROADCAST_RPC_ADDRESS:=$CASSANDRA_BROADCAST_ADDRESS}"
    : "${CASSANDRA_SEEDS:=$CASSANDRA_BROADCAST_ADDRESS}"

    configure cassandra.yaml "s/(- seeds:).*/\1 \"$CASSANDRA_SEEDS\"/"
    for setting in broadcast_address broadcast_rpc_address cluster_name endpoint_snitch listen_address num_tokens rpc_address; do
        variable=CASSANDRA_${setting^^}
        if [[ -n ${!variable:-} ]]; then
            configure cassandra.yaml "s/^(# )?($setting:).*/\2 ${!variable}/"
        fi
    done
    for setting in dc rack; do
        variable=CASSANDRA_${setting^^}
        if [[ -n ${!variable:-} ]]; then
            configure cassandra-rackdc.properties "s/^($setting=).*/\1${!variable}/"
        fi
    done
fi

exec "$@"
