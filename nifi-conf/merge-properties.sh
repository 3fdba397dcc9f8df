#!/bin/sh
# Sets the properties of one file in another: merge-properties.sh EXAMPLE NIFI_PROPERTIES
#
# Where a key stands in the second file, commented out or not, its line is replaced; a second line of the same key is
# removed; keys that are not there come to the end. Everything else stays as it is. Run twice, it changes nothing more.
set -eu
if [ $# -ne 2 ] || [ ! -f "$1" ] || [ ! -f "$2" ]; then
    echo "usage: merge-properties.sh EXAMPLE NIFI_PROPERTIES (two files that exist)" >&2
    exit 2
fi
merged=$(mktemp)
trap 'rm -f "$merged"' EXIT
awk '
    { line = $0; sub(/\r$/, "", line) }
    FNR == NR {
        if (line !~ /^[ \t]*[#!]/ && (at = index(line, "=")) > 0) {
            key = substr(line, 1, at - 1); gsub(/[ \t]/, "", key)
            value[key] = substr(line, at + 1); order[++count] = key
        }
        next
    }
    {
        key = line; sub(/=.*/, "", key); gsub(/[ \t#!]/, "", key)
        if (index(line, "=") == 0 || !(key in value)) { print line; next }
        if (!(key in done)) { print key "=" value[key]; done[key] = 1 }
    }
    END { for (i = 1; i <= count; i++) if (!(order[i] in done)) { print order[i] "=" value[order[i]]; done[order[i]] = 1 } }
' "$1" "$2" > "$merged"
cat "$merged" > "$2" # keeps owner and mode
