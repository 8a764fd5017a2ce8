# shellcheck shell=bash
file=$download/$coordinate
check "GET gives the bytes, anonymously, from a public repository" all status 200 "$file" -- body_is_file file.bin
check "... by the download route too" all status 200 "${artifacts%artifacts}download/$coordinate" -- body_is_file file.bin
check "... with its checksum, its name and that ranges are welcome" all header_is X-Checksum-SHA256 "$sum" -- header_is Accept-Ranges bytes -- \
    header_matches Content-Disposition 'filename="?widget.bin'
check "HEAD tells the length and sends no body" all status 200 -I "$file" -- header_is Content-Length 3000000 -- header_matches ETag '^".+"$'
etag=$(header ETag)
check "If-None-Match with its ETag is 304" status 304 -H "If-None-Match: $etag" "$file"
check "If-None-Match with another is 200" status 200 -H 'If-None-Match: "another"' "$file"

head -c 100 file.bin >first
tail -c 100 file.bin >last
tail -c +2999001 file.bin >rest
check "the first hundred bytes" all status 206 -r 0-99 "$file" -- body_is_file first -- header_is Content-Range "bytes 0-99/3000000"
check "the last hundred bytes" all status 206 -r -100 "$file" -- body_is_file last -- header_is Content-Range "bytes 2999900-2999999/3000000"
check "from a byte to the end" all status 206 -r 2999000- "$file" -- body_is_file rest
check "a range past the end is 416 and tells the length" all status 416 -r 3000000- "$file" -- header_is Content-Range "bytes */3000000"
check "several ranges get the whole file" all status 200 -r 0-1,5-6 "$file" -- body_is_file file.bin
check "If-Range with an old ETag gets the whole file" all status 200 -r 0-99 -H 'If-Range: "old"' "$file" -- body_is_file file.bin
check "If-Range with its ETag gets the range" status 206 -r 0-99 -H "If-Range: $etag" "$file"

check "REST describes the artifact" all status 200 "$artifacts/$coordinate" -- json_is 'd["checksum_sha256"]' "$sum" -- json_is 'd["path"]' "$coordinate"
check "REST lists it" all status 200 "$artifacts?path_prefix=tools/widget" -- json_is '[i["path"] for i in d["items"]]' "['$coordinate']"
check "every answer carries a request id" header_matches X-Correlation-ID '.+'

if needs wget "wget reads"; then
    check "wget reads a public file" all wget -q -O got.bin "$file" -- cmp file.bin got.bin
    head -c 1000000 file.bin >partial.bin
    check "wget --continue completes a part" all wget -q -c -O partial.bin "$file" -- cmp file.bin partial.bin
    refused "wget tells a missing file" '404' wget -O /dev/null "$download/none/such/1"
    set_up status 201 "${admin[@]}" -T other.bin "$url/api/v1/repositories/secret/artifacts/a/b/1/secret.bin"
    check "wget reads a private file with a password" all wget -q -O got.bin --user admin --password "$password" --auth-no-challenge \
        "$url/general/secret/a/b/1/secret.bin" -- cmp other.bin got.bin
fi
check "curl resumes a download where it stopped" all cp first resumed.bin -- curl -sS -f -C - -o resumed.bin "$file" -- cmp file.bin resumed.bin
