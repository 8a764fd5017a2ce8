#!/usr/bin/env bash
# Images and artifacts by skopeo, umoci, oras and crane; the distribution specification by curl.
# OCI_PEER=host:port runs the wire checks that any registry should pass against another one instead (anonymous, writable), as a control.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

if [[ -n ${OCI_PEER:-} ]]; then
    url=http://$OCI_PEER admin=()
else
    start_granary
    make_repository images docker '"is_public":true'
    make_repository vault docker
    make_user reader
fi
registry=${url#http://}
manifest_type=application/vnd.oci.image.manifest.v1+json
mapfile -t made < <(python3 "$here/layout.py" made)
config=${made[0]} layer=${made[1]} manifest=${made[2]}

source "$here/wire.sh"
if [[ -z ${OCI_PEER:-} ]]; then
    source "$here/access.sh"
    images=images vault=vault
    source "$here/clients.sh"
    if [[ -d layout ]] && needs docker-registry "a remote of docker-registry"; then source "$here/remote.sh"; fi
    source "$here/virtual.sh"
fi
conclude
