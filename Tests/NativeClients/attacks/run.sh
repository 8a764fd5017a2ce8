#!/usr/bin/env bash
# Attacks that need more than a test beside the code: a trace of system calls, a proxy in front of the server, a name server that lies.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

only_alone "the one server's system calls are traced"
server=${SERVER_BINARY:?scripts/clients builds it}
source "$here/paths.sh"
source "$here/proxies.sh"
source "$here/names.sh"
conclude
