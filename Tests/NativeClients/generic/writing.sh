# shellcheck shell=bash
check "PUT stores a file and answers 201" status 201 "${admin[@]}" -T file.bin "$artifacts/$coordinate"
check "... and tells its digest and size" all json_is 'd["checksum_sha256"]' "$sum" -- json_is 'd["size_bytes"]' 3000000
check "the same bytes again succeed: a retry after a lost answer" status '20[01]' "${admin[@]}" -T file.bin "$artifacts/$coordinate"
check "other bytes at the same path are a conflict" all status 409 "${admin[@]}" -T other.bin "$artifacts/$coordinate" -- body_says '"code"'
check "... and the stored file is as it was" all status 200 "$download/$coordinate" -- body_is_file file.bin

check "an empty file is a file" all status 201 "${admin[@]}" -T empty.bin "$artifacts/tools/empty/1.0/empty.bin" -- \
    status 200 "$download/tools/empty/1.0/empty.bin" -- body_is_file empty.bin -- header_is Content-Length 0
check "a path with spaces and letters beyond ASCII" all status 201 "${admin[@]}" -T file.bin "$artifacts/odd/n%C3%A4me/1/a%20b%2Bc.bin" -- \
    status 200 "$download/odd/n%C3%A4me/1/a%20b%2Bc.bin" -- body_is_file file.bin
check "declared checksums that agree are accepted" status 201 "${admin[@]}" -T file.bin \
    -H "X-Checksum-SHA256: $sum" -H "X-Checksum-SHA1: $(sha1sum file.bin | cut -d ' ' -f 1)" -H "X-Checksum-MD5: $(md5sum file.bin | cut -d ' ' -f 1)" \
    "$artifacts/tools/sums/1.0/file.bin"
check "a multipart form uploads to the path it names" all status 201 "${admin[@]}" -F path=forms/one/1.0/ -F file=@file.bin "$artifacts" -- \
    status 200 "$download/forms/one/1.0/file.bin" -- body_is_file file.bin
check "a multipart form uploads to the path in the URL" all status 201 "${admin[@]}" -F file=@other.bin "$artifacts/forms/two/1.0/two.bin" -- \
    status 200 "$download/forms/two/1.0/two.bin" -- body_is_file other.bin
check "Expect: 100-continue is answered, and the file stored" status 201 "${admin[@]}" -H 'Expect: 100-continue' --expect100-timeout 30 -T other.bin "$artifacts/tools/expect/1.0/e.bin"
# shellcheck disable=SC2094  # read by curl, compared afterwards
check "a body of unknown length, chunked" all status 201 "${admin[@]}" -H 'Transfer-Encoding: chunked' -T - "$artifacts/tools/chunked/1.0/c.bin" <file.bin -- \
    status 200 "$download/tools/chunked/1.0/c.bin" -- body_is_file file.bin
