#!/usr/bin/env bash
# Stands in for systemd: the relay of this machine, $DRILL, as the service would run it.
set -eu
case "$1" in
start)
  setsid nohup dinh-relay serve --config "$DRILL/relay.toml" >>"$DRILL/relay.log" 2>&1 </dev/null &
  echo $! >"$DRILL/pid"
  for _ in $(seq 300); do
    kill -0 "$(cat "$DRILL/pid")" || { echo "the relay ended"; exit 1; }
    [ -e "$DATA/admin.json" ] && tail -n 1 "$DRILL/relay.log" | grep -q '^dinh-relay address ' && exit 0
    sleep 0.1
  done
  echo "the relay did not start"
  exit 1
  ;;
stop)
  pid=$(cat "$DRILL/pid")
  # One that broke down has stopped.
  kill -TERM "$pid" 2>/dev/null || exit 0
  for _ in $(seq 300); do
    kill -0 "$pid" 2>/dev/null || exit 0
    sleep 0.1
  done
  echo "the relay did not stop"
  exit 1
  ;;
*)
  echo "systemctl $*: not in the drills"
  exit 1
  ;;
esac
