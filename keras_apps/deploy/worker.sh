#!/bin/sh
# One process of a training on several machines: sets TF_CONFIG and becomes `python -m keras_apps.train`.
#
#   WORKERS="host0:2222 host1:2222" INDEX=0 sh keras_apps/deploy/worker.sh --config=... --data=DIR --workdir=DIR
#
# WORKERS is the same on all machines, INDEX this one's place in it. PYTHON: the interpreter, default python.
set -eu
: "${WORKERS:?is not set; list the host:port of all workers, separated by spaces}"
: "${INDEX:?is not set; give the place of this machine in WORKERS, from 0 on}"
list=
for place in $WORKERS; do
    list="$list${list:+, }\"$place\""
done
TF_CONFIG="{\"cluster\": {\"worker\": [$list]}, \"task\": {\"type\": \"worker\", \"index\": $INDEX}}"
export TF_CONFIG
exec "${PYTHON:-python}" -m keras_apps.train --strategy=multi_worker "$@"
