#!/usr/bin/env bash
# Debian packages by dpkg-deb, curl, dput and apt-get: a local repository, a remote of a foreign archive, a virtual of both.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
source "$here/packages.sh"

have apt-get && have dpkg-deb && have gpgv || { note "no apt-get, dpkg-deb and gpgv here"; passes "nothing to try without Debian's tools"; conclude; exit; }

start_granary
debian=$url/debian
make_user reader
make_repository deb debian '"is_public":true,"debian":{"distribution_paths":["stable"],"components":["main"],"architectures":["amd64"]}'
make_repository closed debian

source "$here/local.sh"
source "$here/upload.sh"
source "$here/remote.sh"
source "$here/virtual.sh"
conclude
