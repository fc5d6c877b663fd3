#!/usr/bin/env bash
# A meeting of two, by commands through pipes: one founds the branch and writes, the other joins, writes and votes.
#
#   examples/test-minutes.sh "PROGRAM OF AN" "PROGRAM OF BINH"
#
# The programs are kotlin-minutes or swift-minutes as their READMEs start them, one of each or twice the same, without the folder
# and the relay. DINH_RELAY is the relay's program. WORK is where their folders go, if a program does not see all of the disk
# (bindings/swift-toolchain.sh run).
set -euo pipefail
[ $# = 2 ] || { sed -n '2,/^set -e/{/^set -e/!s/^# \{0,1\}//p;}' "$0" >&2; exit 2; }
read -ra an <<<"$1"
read -ra binh <<<"$2"
DINH_RELAY=${DINH_RELAY:-$(dirname "$0")/../target/release/dinh-relay}

work=$(mktemp -d "${WORK:-${TMPDIR:-/tmp}}/minutes.XXXXXX")
started=()
finish() {
  for process in "${started[@]}"; do kill "$process" 2>/dev/null || true; done
  rm -rf "$work"
}
trap finish EXIT

fail() { # why, name
  { echo "FAILED: $1" && cat "$work/$2.out" "$work/$2.err"; } >&2
  exit 1
}

# Waits for a line, at most a minute, and prints what follows its beginning.
line() { # name, beginning
  for _ in $(seq 600); do
    if grep -F -- "$2" "$work/$1.out" >"$work/line" 2>/dev/null; then
      head -n 1 "$work/line" | sed "s|^.*$2||"
      return
    fi
    sleep 0.1
  done
  fail "no '$2'" "$1"
}

"$DINH_RELAY" serve --data "$work/relay" --listen 127.0.0.1:0 >"$work/relay.out" 2>"$work/relay.err" &
started+=($!)
relay=ws://$(line relay ws://)

begin() { # name, program: its commands are written into a pipe of that name
  local name=$1
  shift
  mkfifo "$work/$name.in"
  "$@" "$work/$name" "$relay" <"$work/$name.in" >"$work/$name.out" 2>"$work/$name.err" &
  started+=($!)
}
begin an "${an[@]}"
exec 3>"$work/an.in"
begin binh "${binh[@]}"
exec 4>"$work/binh.in"

echo "found Chi bộ thôn Đình" >&3
echo "join" >&4
code=$(line binh 'join code: ')
echo "admit deputy binh $code" >&3
code=$(line an 'welcome code: ')
echo "welcome $code" >&4
line binh joined >/dev/null
printf '%s\n' "begin 2026-12" "section Thảo luận" "block Nên làm trước Tết." "sync" >&3
printf '%s\n' "wait Nên làm trước Tết." "watch" "block Nhất trí" "type  👍, đề nghị làm ngay." "vote yes" "sync" >&4
printf '%s\n' "wait binh: Nhất trí 👍, đề nghị làm ngay." "ask Đồng ý?" "vote no" "sync" >&3
printf '%s\n' "wait ? Đồng ý? an no" "vote yes" "sync" "show" "quit" >&4
printf '%s\n' "wait ? Đồng ý? an no, binh yes" "show" "quit" >&3
exec 3>&- 4>&-
wait "${started[1]}" || fail "the app ended with an error" an
wait "${started[2]}" || fail "the app ended with an error" binh

shown() { # name: what was shown last, without what was shown live
  grep -v '^\* ' "$work/$1.out" | sed -n '/^MINUTES/,$p'
}
expected='MINUTES 2026-12
# Thảo luận
an: Nên làm trước Tết.
binh: Nhất trí 👍, đề nghị làm ngay.
? Đồng ý? an no, binh yes'
for name in an binh; do
  [ "$(shown "$name")" = "$expected" ] || fail "$name shows something else" "$name"
done
# He voted before there was a question, and saw what others did without asking.
grep -Fxq 'error: no open question: ask one' "$work/binh.out" || fail "an error is not told" binh
grep -Fq '* ? Đồng ý? an no' "$work/binh.out" || fail "changes are not shown live" binh
# Opened again, offline, everything is there.
[ "$(printf 'show\n' | "${an[@]}" "$work/an")" = "$expected" ] || fail "an's phone forgot something" an
echo "a meeting of two: 1 passed, 0 failed"
