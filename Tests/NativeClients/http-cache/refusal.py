"""A refusal must not cost the connection: refusal.py HOST:PORT USER:PASSWORD PATH BYTES MISSING-PATH

Puts BYTES at PATH, which is refused with 413, then gets MISSING-PATH on the same socket, which is 404.
"""
import base64
import http.client
import sys

address, credentials, path, size, missing = sys.argv[1:6]
connection = http.client.HTTPConnection(address, timeout=30)
fields = {"Authorization": "Basic " + base64.b64encode(credentials.encode()).decode()}
connection.request("PUT", path, body=bytes(int(size)), headers=fields)
socket = connection.sock
answer = connection.getresponse()
print(answer.status, answer.read())
assert answer.status == 413 and connection.sock is socket, "refused, and the connection kept"
connection.request("GET", missing)
answer = connection.getresponse()
print(answer.status, answer.read())
assert answer.status == 404 and connection.sock is socket, "answered on the same connection"
