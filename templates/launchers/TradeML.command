#!/bin/bash
# Double-click on a Mac, or run on Linux: a menu of the wizards on the drive beside this file.
#
# Put this file into the data root of the drive (beside .trademl-drive.json), or into the folder above it when that folder
# holds data_layer. `trademl` is looked for beside this file, then in PATH and ~/.cargo/bin. With an argument there is no menu:
#   TradeML.command train [more arguments]
# A Mac asks once whether a file from elsewhere may be opened: right-click, Open.
set -u
here=$(cd "$(dirname "$0")" && pwd -P)

finish() { # finish STATUS
  local meaning
  case "$1" in
    0) meaning="done" ;;
    2) meaning="an argument, an answer or a setting is missing or wrong: see above" ;;
    3) meaning="refused by a gate, with its numbers: a normal outcome of training" ;;
    4) meaning="a key is missing or was rejected" ;;
    5) meaning="paused: open this again to go on" ;;
    6) meaning="this machine or the drive: mend what is named above, then open this again" ;;
    7) meaning="the drive is in use by another program or machine" ;;
    8) meaning="the drive was written by a newer TradeML: install that version" ;;
    9) meaning="a vendor or the network cannot be reached: try again later" ;;
    70) meaning="a bug of TradeML: report it with the log that is named above" ;;
    129 | 130 | 143) meaning="stopped: open this again to go on" ;;
    *) meaning="a status that TradeML does not use: something else stopped it" ;;
  esac
  printf '\nExit status %s: %s\n' "$1" "$meaning"
  if [ -t 0 ] && [ -z "${TRADEML_NO_PAUSE:-}" ]; then printf 'Press Enter to close this window. '; read -r _ || true; fi
  exit "$1"
}

root=
for place in "$here" "$here/data_layer"; do
  if [ -f "$place/.trademl-drive.json" ]; then root=$place; break; fi
done
if [ -z "$root" ]; then
  printf 'There is no TradeML data root beside this file.\n  looked for  %s/.trademl-drive.json\n  and         %s/data_layer/.trademl-drive.json\n  fix         copy this file into the data root of the drive\n' "$here" "$here"
  finish 6
fi

program=
for place in "$here/trademl" "$(command -v trademl 2>/dev/null || true)" "$HOME/.cargo/bin/trademl"; do
  if [ -n "$place" ] && [ -x "$place" ] && [ ! -d "$place" ]; then program=$place; break; fi
done
if [ -z "$program" ]; then
  printf 'trademl was found neither beside this file nor in PATH nor in ~/.cargo/bin.\n  fix         copy it to %s\n' "$here"
  finish 6
fi

if [ "$#" -eq 0 ]; then
  wizards=(train evaluate shadow paper-trade serve status doctor)
  printf 'TradeML on %s\n\n' "$root"
  n=0
  for wizard in "${wizards[@]}"; do n=$((n + 1)); printf ' %s) %s\n' "$n" "$wizard"; done
  printf 'Which one (Enter = train)? '
  read -r choice || finish 5
  case "${choice:-1}" in
    [1-7]) set -- "${wizards[$((${choice:-1} - 1))]}" ;;
    train | evaluate | shadow | paper-trade | serve | status | doctor) set -- "$choice" ;;
    *) printf "'%s' is not one of them.\n" "$choice"; finish 2 ;;
  esac
fi
wizard=$1
shift
"$program" "$wizard" --root "$root" "$@"
finish "$?"
