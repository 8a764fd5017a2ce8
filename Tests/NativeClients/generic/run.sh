#!/usr/bin/env bash
# Generic artifacts by curl and wget: what comes back, what is refused and how.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

start_granary
make_repository files generic '"is_public":true'
make_repository secret generic
make_user reader

artifacts=$url/api/v1/repositories/files/artifacts
download=$url/general/files
head -c 3000000 /dev/urandom >file.bin
head -c 3000000 /dev/urandom >other.bin
: >empty.bin
sum=$(sha256 file.bin)
coordinate=tools/widget/1.0/widget.bin

source "$here/writing.sh"
source "$here/reading.sh"
source "$here/refusals.sh"
source "$here/sessions.sh"
source "$here/virtual.sh"
source "$here/remote.sh"
conclude
