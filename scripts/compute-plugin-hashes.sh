#!/bin/sh
# Thin wrapper over `pluginapi hash`: the SHA3-512 of the plugins in target/release or target/debug.
# PLUGINAPI names another pluginapi than the one on PATH.
set -eu

profile=${1:-release}
if [ $# -gt 1 ]; then
    profile=
fi
case "$profile" in
    release | debug) ;;
    *)
        echo "usage: $0 [release|debug]" >&2
        exit 2
        ;;
esac
if [ ! -d "target/$profile" ]; then
    echo "there is no directory target/$profile: build the plugins first" >&2
    exit 1
fi
exec "${PLUGINAPI:-pluginapi}" hash -- "target/$profile"
