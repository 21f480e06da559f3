#!/bin/sh
# Thin wrapper over the command line, with the commands of the original script.
# PLUGINAPI names another pluginapi than the one on PATH, KEYS_DIR another directory than keys.
set -eu

usage() {
    cat >&2 <<END
usage: $0 generate-key [LABEL]      make keys/LABEL.key and keys/LABEL.pub (default: default)
       $0 sign PLUGIN KEYFILE       write PLUGIN.sig
       $0 verify PLUGIN PUBKEY      PUBKEY is a file or 64 hex digits; exit 0 only if valid
       $0 list-keys                 label, key id and public key of each key in keys
END
    exit 2
}

pluginapi=${PLUGINAPI:-pluginapi}
keys=${KEYS_DIR:-keys}

[ $# -ge 1 ] || usage
command=$1
shift
case "$command" in
    generate-key)
        [ $# -le 1 ] || usage
        exec "$pluginapi" keygen -- "$keys/${1:-default}"
        ;;
    sign)
        [ $# -eq 2 ] || usage
        exec "$pluginapi" sign --key "$2" -- "$1"
        ;;
    verify)
        [ $# -eq 2 ] || usage
        exec "$pluginapi" verify --key "$2" -- "$1"
        ;;
    list-keys)
        [ $# -eq 0 ] || usage
        exec "$pluginapi" keys -- "$keys"
        ;;
    *) usage ;;
esac
