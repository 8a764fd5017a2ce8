# shellcheck shell=bash
long=$(head -c 2100 /dev/zero | tr '\0' x)
secret=$url/api/v1/repositories/secret

check "a checksum that does not match is 400 and says so" all status 400 "${admin[@]}" -T file.bin -H "X-Checksum-SHA256: $(sha256 other.bin)" \
    "$artifacts/bad/sum/1/f.bin" -- body_says 'VALIDATION_ERROR'
check "... and nothing is stored" status 404 "$download/bad/sum/1/f.bin"
check "an MD5 that does not match is 400" status 400 "${admin[@]}" -T file.bin -H "X-Checksum-MD5: $(md5sum other.bin | cut -d ' ' -f 1)" "$artifacts/bad/sum/1/f.bin"
check "a path over 2048 bytes is 400" status 400 "${admin[@]}" -T file.bin "$artifacts/bad/$long"
check "a path that climbs is 400" status 400 "${admin[@]}" --path-as-is -T file.bin "$artifacts/bad/../../../etc/passwd"
check "... encoded, too" status 400 "${admin[@]}" --path-as-is -T file.bin "$artifacts/bad/%2e%2e/%2e%2e/f"
check "... and with a NUL in it" status 400 "${admin[@]}" -T file.bin "$artifacts/bad/a%00b"
check "an unknown repository is 404 to who may ask" all status 404 "${admin[@]}" -T file.bin "$url/api/v1/repositories/nowhere/artifacts/a/b/1/f" -- body_says 'NOT_FOUND'
check "a missing file is 404 with a reason" all status 404 "$artifacts/no/such/1/file" -- body_says 'NOT_FOUND'

check "writing without a credential is 401" status 401 -T file.bin "$artifacts/x/y/1/z"
check "... before the body was read: the refusal of a large PUT arrives at once" python3 "$here/../sockets.py" early "127.0.0.1:$port" PUT /api/v1/repositories/files/artifacts/x/y/1/z
check "a wrong password is 401 even on a public file" status 401 -u reader:wrong "$download/$coordinate"
check "a user without a right may read a public file" status 200 -u "reader:$user_password" "$download/$coordinate"
check "... but may not write there: 403" all status 403 -u "reader:$user_password" -T file.bin "$artifacts/x/y/1/z" -- body_says 'FORBIDDEN'
check "... nor delete" status 403 -u "reader:$user_password" -X DELETE "$artifacts/$coordinate"

set_up status 201 "${admin[@]}" -T file.bin "$secret/artifacts/p/q/1/f.bin"
check "a private file is 401 to the anonymous on the format's own route" status 401 "$url/general/secret/p/q/1/f.bin"
check "... exactly as an absent repository is" status 401 "$url/general/nowhere/p/q/1/f.bin"
check "a private file answers like an absent one to who may not read it" status 404 -u "reader:$user_password" "$secret/download/p/q/1/f.bin"

check "a truncated body is not stored" python3 "$here/../sockets.py" truncated "127.0.0.1:$port" PUT /api/v1/repositories/files/artifacts/bad/cut/1/f.bin "admin:$password" file.bin
check "... and its path is free" status 404 "$download/bad/cut/1/f.bin"

check "DELETE removes a file" all status 201 "${admin[@]}" -T file.bin "$artifacts/gone/soon/1/f.txt" -- status 200 "${admin[@]}" -X DELETE "$artifacts/gone/soon/1/f.txt" -- \
    status 404 "$download/gone/soon/1/f.txt"
check "... a second DELETE is 404" status 404 "${admin[@]}" -X DELETE "$artifacts/gone/soon/1/f.txt"
check "... other bytes may not take its place" status 409 "${admin[@]}" -T other.bin "$artifacts/gone/soon/1/f.txt"
check "... the same bytes may" all status '20[01]' "${admin[@]}" -T file.bin "$artifacts/gone/soon/1/f.txt" -- status 200 "$download/gone/soon/1/f.txt"
