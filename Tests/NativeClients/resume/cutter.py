"""A proxy that kills the server in the middle of an upload: cutter.py PORT-FILE SERVER-PORT PID BYTES

Forwards everything; once BYTES went from one client to the server, the server gets SIGKILL.
"""
import os
import signal
import socket
import sys
import threading

port_file, server_port, pid, limit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])


def pump(source, sink, count):
    sent = 0
    try:
        while content := source.recv(1 << 16):
            sink.sendall(content)
            sent += len(content)
            if count and sent >= limit:
                os.kill(pid, signal.SIGKILL)
                break
    except OSError:
        pass
    # Closed, too: a client whose bytes fill the buffer of an end that was only shut down would wait for ever.
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        end.close()


listener = socket.create_server(("127.0.0.1", 0))
with open(port_file + ".new", "w") as f:
    f.write(str(listener.getsockname()[1]))
os.rename(port_file + ".new", port_file)
while True:
    client, _ = listener.accept()
    try:
        server = socket.create_connection(("127.0.0.1", server_port))
    except OSError:
        client.close()
        continue
    threading.Thread(target=pump, args=(client, server, True), daemon=True).start()
    threading.Thread(target=pump, args=(server, client, False), daemon=True).start()
