"""The catalog's homes side by side: a PostgreSQL server of this run's own, with its syncs, and RocksDB, on one file system."""
import os, signal, subprocess, sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "Tests", "Torture"))
from cluster import DATABASE, Cluster

program, scratch, *rest = sys.argv[1:]
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
cluster = Cluster(scratch, has_disk=False)
try:
    address = f"host={cluster.current.socket} user=postgres dbname={DATABASE}"
    done = subprocess.run([program, os.path.join(scratch, "rocks"), address, *rest])
finally:
    cluster.remove()
sys.exit(done.returncode)
