#!/usr/bin/env bash
# Python packages by twine, pip and uv; the wire by curl; and a remote of another index.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

start_granary
make_repository py pypi '"is_public":true'
make_repository closed pypi
make_user reader

py=py closed=closed
index=$url/pypi/$py/simple
package() { python3 "$here/packages.py" "$@"; }
# COLUMNS: twine wraps what it says.
upload() { COLUMNS=1000 twine upload --verbose --non-interactive --disable-progress-bar --repository-url "$1" -u "$2" -p "$3" "${@:4}"; }
# Each install goes into a folder of its own; `said FOLDER MODULE` tells what the installed module says.
pip_install() { pip install --quiet --no-input --no-deps --no-build-isolation --retries 0 --target "$1" --index-url "$2" "${@:3}"; }
uv_install() { uv pip install --no-deps --no-build-isolation --target "$1" --default-index "$2" "${@:3}"; }
said() { PYTHONPATH=$1 python -c "import $2; print($2.said)"; }
imported() { same "$3" "$(said "$1" "$2")"; }

package wheel dist Granary-Test.Wheel 1.0 "from a wheel" >/dev/null
package sdist dist granary-test-sdist 1.0 "from an sdist" >/dev/null
wheel=dist/granary_test_wheel-1.0-py3-none-any.whl
sdist=dist/granary_test_sdist-1.0.tar.gz

source "$here/wire.sh"
if needs twine "twine, pip and uv"; then
    source "$here/clients.sh"
    source "$here/rights.sh"
    source "$here/remote.sh"
    source "$here/virtual.sh"
fi
conclude
